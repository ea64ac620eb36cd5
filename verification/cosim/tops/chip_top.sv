// SPDX-License-Identifier: Apache-2.0
// Simulation top of a chip: clock, host transactions from files, traces to files.
//
// The same batches as in core_top.sv: Python raises `go`, batch k reads script_k.hex (register
// transactions, in order) and stream_k.hex (input stream beats, offered once the cores have been
// started, because the tables must be written by then) and `done` rises at its end. trace_k.txt has
// what the host saw (M, R, E lines) and the cycles of the batch by phase
// (C lines); trace_k_<node>.txt what a core did (A, V, P lines).
//
// script word: {op[7:0], address[31:0], data[31:0]}; op 0 ends the batch, 1 writes, 2 reads and
// traces, 3 waits until all started cores have halted, 4 dumps chi and devices of core `data`,
// 5 restores core `data` from restore-<core>.*: the macro's files, chi and the selection counters.
// stream word: {unused, last, keep[7:0], data[63:0]}; word 0 is the number of beats.
// +phasecore_macros=<prefix> loads the macro of core n and its accumulators from <prefix>_<n>.*;
// +stall=n delays host stream beats with probability n/256, +stall_seed=n says which. +settle=n
// waits so many cycles behind the end of the programs, for vectors that none of them needed.
// +windows=1 traces when the window units work.
//
// Needs two macros that list the nodes, in front (verification/cosim/chip.py writes them):
// PHASECORE_CORES, e.g. `CORE(0) `CORE(1), and PHASECORE_ROUTERS, e.g. `ROUTER(0, 0) `ROUTER(1, 0).
`timescale 1ns / 1ps

// Trace of one core: V vector-memory write, by groups of 8 bytes of which one is written; A ADC
// read-out (codes two cycles after en); with `windows` W when the window unit begins (1) and when it
// has ended (0). The macro adds P lines.
module chip_probe #(
    parameter NODE = 0,
    parameter POST_LANES = 64,
    parameter ADDRESS_BITS = 6
) (
    input clk,
    input read_en,
    input [POST_LANES-1:0] read_mask,
    input [8*POST_LANES-1:0] read_codes,
    input write_en,
    input [ADDRESS_BITS-1:0] write_address,
    input [POST_LANES-1:0] write_mask,
    input [8*POST_LANES-1:0] write_data,
    input windows,
    input window
);
    localparam GROUPS = POST_LANES / 8;

    integer fd = 0;
    reg [1:0] reading = 0;
    reg [POST_LANES-1:0] mask_1 = 0, mask_2 = 0;
    reg [15:0] group, first;
    reg window_1 = 0;

    always @(posedge clk) begin
        reading <= {reading[0], read_en};
        mask_1 <= read_mask;
        mask_2 <= mask_1;
        window_1 <= window;
        if (fd != 0) begin
            if (windows && window != window_1) $fwrite(fd, "W %b\n", window);
            if (write_en) begin
                first = write_address * GROUPS;
                for (group = 0; group < GROUPS; group = group + 1)
                    if (write_mask[8*group +: 8] != 0)
                        $fwrite(fd, "V %h %h %h\n", first + group, write_mask[8*group +: 8],
                                write_data[64*group +: 64]);
            end
            if (reading[1]) $fwrite(fd, "A %h %h\n", mask_2, read_codes);
        end
    end

    task open(input integer batch);
        string name;
        begin
            name = $sformatf("trace_%0d_%0d.txt", batch, NODE);
            fd = $fopen(name, "w");
        end
    endtask

    task close;
        begin
            if (fd != 0) $fclose(fd);
            fd = 0;
        end
    endtask
endmodule

module chip_top;
    parameter POST_LANES = 64;
    parameter ADDRESS_BITS = 6;
    parameter SCRIPT_DEPTH = 16384;
    parameter STREAM_DEPTH = 131072;

    `include "host.svh"

    reg [79:0] stream [0:STREAM_DEPTH-1];
    reg [71:0] script [0:SCRIPT_DEPTH-1];
    reg [31:0] beat = 1;
    reg [31:0] beats = 0;
    reg restart = 0;
    reg offered = 0;
    wire tvalid = offered && beat <= beats && !restart;
    wire tready;
    wire [79:0] current = stream[beat];

    wire [63:0] m_tdata;
    wire [7:0] m_tkeep;
    wire m_tvalid, m_tlast;
    reg m_tready = 0;

    phasecore_chip chip (
        .clk(clk), .rst(rst), .halted(halted),
        .s_axil_awaddr(awaddr), .s_axil_awvalid(awvalid), .s_axil_awready(awready),
        .s_axil_awprot(3'b0),
        .s_axil_wdata(wdata), .s_axil_wstrb(4'hf), .s_axil_wvalid(wvalid), .s_axil_wready(wready),
        .s_axil_bresp(bresp), .s_axil_bvalid(bvalid), .s_axil_bready(1'b1),
        .s_axil_araddr(araddr), .s_axil_arvalid(arvalid), .s_axil_arready(arready),
        .s_axil_arprot(3'b0),
        .s_axil_rdata(rdata), .s_axil_rresp(rresp), .s_axil_rvalid(rvalid), .s_axil_rready(1'b1),
        .s_axis_tdata(current[63:0]), .s_axis_tkeep(current[71:64]), .s_axis_tlast(current[72]),
        .s_axis_tvalid(tvalid), .s_axis_tready(tready),
        .m_axis_tdata(m_tdata), .m_axis_tkeep(m_tkeep), .m_axis_tlast(m_tlast),
        .m_axis_tvalid(m_tvalid), .m_axis_tready(m_tready)
    );

    // The host's stream, with stalls if wanted; a beat that is offered stays until it is taken.
    integer stall = 0;
    integer settle = 0;
    reg windows = 0;
    reg [31:0] random = 1;
    always @(posedge clk) begin
        random = random ^ (random << 13);
        random = random ^ (random >> 17);
        random = random ^ (random << 5);
        if (restart) begin
            beat <= 1;
            offered <= 0;
        end else begin
            if (tvalid && tready) beat <= beat + 1;
            if (!offered || tready) offered <= random[7:0] >= stall;
        end
        m_tready <= random[15:8] >= stall;
    end

    integer fd = 0;
    always @(posedge clk)
        if (fd != 0 && m_tvalid && m_tready) begin
            $fwrite(fd, "M %b %h %h\n", m_tlast, m_tkeep, m_tdata);
            // Whoever waits for the batch counts its packets.
            if (m_tlast) $fflush(fd);
        end

    `define CORE(N) \
        chip_probe #(.NODE(N), .POST_LANES(POST_LANES), .ADDRESS_BITS(ADDRESS_BITS)) probe_``N ( \
            .clk(clk), \
            .read_en(chip.core_``N.adc.read__en), \
            .read_mask(chip.core_``N.adc.read__mask), \
            .read_codes(chip.core_``N.adc.read__codes), \
            .write_en(chip.core_``N.vectors.memory.macro.w_en), \
            .write_address(chip.core_``N.vectors.memory.macro.w_address), \
            .write_mask(chip.core_``N.vectors.memory.macro.w_mask), \
            .write_data(chip.core_``N.vectors.memory.macro.w_data), \
            .windows(windows), \
            .window(chip.core_``N.controller.scoreboard.units__window__busy) \
        );
    `PHASECORE_CORES
    `undef CORE

    // What goes on in any core.
    `define CORE(N) | chip.core_``N.running
    wire running = 1'b0 `PHASECORE_CORES;
    `undef CORE
    `define CORE(N) | chip.core_``N.programmer.engine.busy
    wire refreshing = 1'b0 `PHASECORE_CORES;
    `undef CORE
    `define CORE(N) | chip.core_``N.driver.active
    wire integrating = 1'b0 `PHASECORE_CORES;
    `undef CORE
    `define CORE(N) | (chip.core_``N.post.status__busy & ~chip.core_``N.post.waiting)
    wire processing = 1'b0 `PHASECORE_CORES;
    `undef CORE
    `define CORE(N) | (chip.core_``N.network.partial & ~chip.core_``N.network.credit_stalled)
    wire adding = 1'b0 `PHASECORE_CORES;
    `undef CORE
    `define CORE(N) | (chip.core_``N.network.busy & ~chip.core_``N.network.credit_stalled)
    `define ROUTER(X, Y) \
        | chip.mesh.router_``X``_``Y.i__0__valid | chip.mesh.router_``X``_``Y.o__0__valid \
        | chip.mesh.router_``X``_``Y.o__1__valid | chip.mesh.router_``X``_``Y.o__2__valid \
        | chip.mesh.router_``X``_``Y.o__3__valid | chip.mesh.router_``X``_``Y.o__4__valid
    wire transferring = 1'b0 `PHASECORE_CORES `PHASECORE_ROUTERS;
    `undef ROUTER
    `undef CORE
    `define CORE(N) | chip.core_``N.update.status__busy
    wire updating = 1'b0 `PHASECORE_CORES;
    `undef CORE
    `define CORE(N) | chip.core_``N.programmer.status__busy
    wire programming = 1'b0 `PHASECORE_CORES;
    `undef CORE

    // Cycles of a batch in which any program runs, each in the first phase that it belongs to.
    // Transfers come last: the host's inputs for the next image flow all the time.
    localparam PHASES = 8;
    integer cycles [0:PHASES-1];
    integer phase;
    always @(posedge clk)
        if (running) begin
            phase = refreshing ? 0 : integrating ? 1 : processing ? 2 : adding ? 3
                : updating ? 4 : programming ? 5 : transferring ? 6 : 7;
            cycles[phase] = cycles[phase] + 1;
        end

    task clear_phases;
        for (phase = 0; phase < PHASES; phase = phase + 1) cycles[phase] = 0;
    endtask

    task write_phases;
        begin
            $fwrite(fd, "C refresh %0d\n", cycles[0]);
            $fwrite(fd, "C window %0d\n", cycles[1]);
            $fwrite(fd, "C post_processing %0d\n", cycles[2]);
            $fwrite(fd, "C partial_sums %0d\n", cycles[3]);
            $fwrite(fd, "C update %0d\n", cycles[4]);
            $fwrite(fd, "C programming %0d\n", cycles[5]);
            $fwrite(fd, "C transfer %0d\n", cycles[6]);
            $fwrite(fd, "C stall %0d\n", cycles[7]);
        end
    endtask

    // Until all have halted; programs that stop without HALT (watchdog, abort) are a failure.
    integer waited, stopped;
    task wait_halted;
        begin
            restart = 0;
            waited = 0;
            stopped = 0;
            repeat (8) @(negedge clk);
            // A program may end before all vectors of its last frame have been sent.
            while (!(halted && beat > beats) && waited < cycle_limit && stopped < 1000) begin
                waited = waited + 1;
                stopped = running || halted ? 0 : stopped + 1;
                @(negedge clk);
            end
            failed = !halted;
            repeat (settle) @(negedge clk);
        end
    endtask

    `define CORE(N) \
        if (node == N) begin \
            $writememh($sformatf("chi_%0d_%0d.hex", batch, N), chip.core_``N.update.chi.macro.mem); \
            chip.core_``N.crossbar.macro.dump($sformatf("state_%0d_%0d", batch, N)); \
        end
    task dump_core(input integer node);
        begin
            `PHASECORE_CORES
        end
    endtask
    `undef CORE

    // A core with one device per polarity has no selection counters.
    `ifdef PHASECORE_SELECTION
    `define SELECT(N) \
            chip.core_``N.programmer.selector.potentiation <= selection[0]; \
            chip.core_``N.programmer.selector.depression <= selection[1];
    `else
    `define SELECT(N)
    `endif
    `define CORE(N) \
        if (node == N) begin \
            chip.core_``N.crossbar.macro.load($sformatf("restore-%0d", N)); \
            $readmemh($sformatf("restore-%0d.chi.hex", N), chip.core_``N.update.chi.macro.mem); \
            $readmemh($sformatf("restore-%0d.selection.hex", N), selection); \
            `SELECT(N) \
        end
    reg [7:0] selection [0:1];
    // Between two clock edges, so nobody minds that Verilator assigns at once.
    // verilator lint_off INITIALDLY
    task restore_core(input integer node);
        begin
            `PHASECORE_CORES
        end
    endtask
    // verilator lint_on INITIALDLY
    `undef CORE
    `undef SELECT

    `define CORE(N) \
        chip.core_``N.crossbar.macro.load($sformatf("%0s_%0d", prefix, N)); \
        $readmemh($sformatf("%0s_%0d.accumulators.hex", prefix, N), \
                  chip.core_``N.post.sums.accumulators.macro.mem);
    string prefix;
    task load_macros;
        begin
            `PHASECORE_CORES
        end
    endtask
    `undef CORE

    `define CORE(N) probe_``N.open(batch); chip.core_``N.crossbar.macro.trace_fd = probe_``N.fd;
    task open_traces;
        begin
            `PHASECORE_CORES
        end
    endtask
    `undef CORE

    `define CORE(N) chip.core_``N.crossbar.macro.trace_fd = 0; probe_``N.close;
    task close_traces;
        begin
            `PHASECORE_CORES
        end
    endtask
    `undef CORE

    integer index;
    string name;
    task run_batch;
        begin
            name = $sformatf("trace_%0d.txt", batch);
            fd = $fopen(name, "w");
            if (trace) open_traces;
            clear_phases;
            name = $sformatf("script_%0d.hex", batch);
            $readmemh(name, script);
            name = $sformatf("stream_%0d.hex", batch);
            $readmemh(name, stream);
            beats = stream[0][31:0];
            restart = 1;
            index = 0;
            @(negedge clk);
            while (script[index][71:64] != 0 && !failed) begin
                case (script[index][71:64])
                    1: axil_write(script[index][63:32], script[index][31:0]);
                    2: axil_read(script[index][63:32]);
                    3: wait_halted;
                    4: dump_core(script[index][31:0]);
                    5: restore_core(script[index][31:0]);
                    default: failed = 1;
                endcase
                index = index + 1;
            end
            write_phases;
            close_traces;
            $fclose(fd);
            fd = 0;
            batch = batch + 1;
        end
    endtask

    initial begin
        if (!$value$plusargs("batches=%d", batches)) batches = 0;
        if (!$value$plusargs("trace=%d", trace)) trace = 1;
        if (!$value$plusargs("stall=%d", stall)) stall = 0;
        if (!$value$plusargs("settle=%d", settle)) settle = 0;
        if (!$value$plusargs("windows=%d", windows)) windows = 0;
        if ($value$plusargs("stall_seed=%d", random)) random = {random[30:0], 1'b1};
        repeat (4) @(negedge clk);
        if ($value$plusargs("phasecore_macros=%s", prefix)) load_macros;
        rst = 0;
        @(negedge clk);
        run_batches;
    end
endmodule
