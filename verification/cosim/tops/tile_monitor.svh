// SPDX-License-Identifier: Apache-2.0
// What a simulation sees of a tile: verification/cosim/chip.py includes it at the module's end.
//
// The trace of a core: V vector-memory write, by groups of 8 bytes of which one is written; A ADC
// read-out (codes two cycles after en); with +windows=1 W when the window unit begins (1) and when
// it has ended (0); with +timeline=1 F, a cycle and what goes on from there. The macro adds P lines.
// Between two clock edges it does what the top wants of it, and tells what goes on in the core.
//
// Needs the macros PHASECORE_POST_LANES and, if there are selection counters (a core with one device
// per polarity has none), PHASECORE_SELECTION.
generate if (1) begin : monitor
    `include "mailbox.svh"

    localparam LANES = `PHASECORE_POST_LANES;
    localparam GROUPS = LANES / 8;

    integer node = 0;
    integer place;
    reg windows = 0;
    reg timeline = 0;
    string path, prefix;

    // The instance is core_<node>; %m may have the name of the module behind it.
    initial begin
        path = $sformatf("%m");
        for (place = 5; place < path.len(); place = place + 1)
            if (path.substr(place - 5, place - 1) == "core_" && path[place] >= "0"
                    && path[place] <= "9")
                while (place < path.len() && path[place] >= "0" && path[place] <= "9") begin
                    node = 10 * node + path[place] - "0";
                    place = place + 1;
                end
        if (!$value$plusargs("windows=%d", windows)) windows = 0;
        if (!$value$plusargs("timeline=%d", timeline)) timeline = 0;
        if (!$value$plusargs("phasecore_macros=%s", prefix)) prefix = "";
    end

    integer fd = 0;
    reg [1:0] reading = 0;
    reg [LANES-1:0] mask_1 = 0, mask_2 = 0;
    reg [15:0] group, first;
    reg window_1 = 0;
    wire window = controller.scoreboard.units__window__busy;

    always @(posedge clk) begin
        reading <= {reading[0], adc.read__en};
        mask_1 <= adc.read__mask;
        mask_2 <= mask_1;
        window_1 <= window;
        if (fd != 0) begin
            if (windows && window != window_1) $fwrite(fd, "W %b\n", window);
            if (vectors.memory.macro.w_en) begin
                first = vectors.memory.macro.w_address * GROUPS;
                for (group = 0; group < GROUPS; group = group + 1)
                    if (vectors.memory.macro.w_mask[8*group +: 8] != 0)
                        $fwrite(fd, "V %h %h %h\n", first + group,
                                vectors.memory.macro.w_mask[8*group +: 8],
                                vectors.memory.macro.w_data[64*group +: 64]);
            end
            if (reading[1]) $fwrite(fd, "A %h %h\n", mask_2, adc.read__codes);
        end
    end

    // From the lowest bit up in the order of the phases of chip_top.sv, then what is none.
    wire [8:0] activity = {
        window,
        network.busy & ~network.credit_stalled,
        programmer.status__busy,
        update.status__busy,
        network.partial & ~network.credit_stalled,
        post.status__busy & ~post.waiting,
        driver.active,
        programmer.engine.busy,
        running
    };
    reg [8:0] told = 0;
    integer command = 0;
    reg [7:0] selection [0:1];

    task open;
        fd = $fopen($sformatf("trace_%0d_%0d.txt", phasecore_peek(BATCH), node), "w");
        crossbar.macro.trace_fd = fd;
    endtask

    task close;
        if (fd != 0) $fclose(fd);
        fd = 0;
        crossbar.macro.trace_fd = 0;
    endtask

    task load;
        crossbar.macro.load($sformatf("%0s_%0d", prefix, node));
        $readmemh($sformatf("%0s_%0d.accumulators.hex", prefix, node),
                  post.sums.accumulators.macro.mem);
    endtask

    task dump;
        $writememh($sformatf("chi_%0d_%0d.hex", phasecore_peek(BATCH), node), update.chi.macro.mem);
        crossbar.macro.dump($sformatf("state_%0d_%0d", phasecore_peek(BATCH), node));
    endtask

    task restore;
        crossbar.macro.load($sformatf("restore-%0d", node));
        $readmemh($sformatf("restore-%0d.chi.hex", node), update.chi.macro.mem);
        $readmemh($sformatf("restore-%0d.selection.hex", node), selection);
`ifdef PHASECORE_SELECTION
        programmer.selector.potentiation = selection[0];
        programmer.selector.depression = selection[1];
`endif
    endtask

    always @(negedge clk) begin
        if (activity != told) begin
            told = activity;
            phasecore_post(ACTIVITY + node, activity);
            phasecore_post(CHANGES, phasecore_peek(CHANGES) + 1);
            if (timeline && fd != 0) $fwrite(fd, "F %0d %h\n", $time / 10, activity);
        end
        if (phasecore_peek(COMMAND) != command) begin
            command = phasecore_peek(COMMAND);
            if (phasecore_peek(NODE) == ALL || phasecore_peek(NODE) == node)
                case (command % 16)
                    OPEN: open;
                    CLOSE: close;
                    LOAD: load;
                    DUMP: dump;
                    RESTORE: restore;
                endcase
        end
    end
end endgenerate
