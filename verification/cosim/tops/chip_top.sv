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
// +windows=1 traces when the window units work, +timeline=1 what goes on in every core.
//
// Every tile has a monitor (tile_monitor.svh), which writes its trace and loads, dumps, restores it.
// Needs two macros in front (verification/cosim/chip.py writes them): PHASECORE_NODES, their number,
// and PHASECORE_ROUTERS, e.g. `ROUTER(0, 0) `ROUTER(1, 0).
`timescale 1ns / 1ps

module chip_top;
    parameter SCRIPT_DEPTH = 16384;
    parameter STREAM_DEPTH = 131072;

    `include "host.svh"
    `include "mailbox.svh"

    integer mailbox [0:ACTIVITY+255];

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

    `define ROUTER(X, Y) \
        | chip.mesh.router_``X``_``Y.i__0__valid | chip.mesh.router_``X``_``Y.o__0__valid \
        | chip.mesh.router_``X``_``Y.o__1__valid | chip.mesh.router_``X``_``Y.o__2__valid \
        | chip.mesh.router_``X``_``Y.o__3__valid | chip.mesh.router_``X``_``Y.o__4__valid
    wire routing = 1'b0 `PHASECORE_ROUTERS;
    `undef ROUTER

    // Cycles of a batch in which any program runs, each in the first phase that any core is in.
    // Transfers come last: the host's inputs for the next image flow all the time.
    localparam PHASES = 8;
    integer cycles [0:PHASES-1];
    integer phase, node;
    integer changes = 0;
    reg [PHASES-1:0] activity = 0;
    wire running = activity[0];
    always @(posedge clk) begin
        if (phasecore_peek(CHANGES) != changes) begin
            changes = phasecore_peek(CHANGES);
            activity = 0;
            for (node = 0; node < `PHASECORE_NODES; node = node + 1)
                activity = activity | phasecore_peek(ACTIVITY + node);
        end
        if (activity[0]) begin
            phase = 1;
            while (phase < PHASES && !activity[phase]) phase = phase + 1;
            if (phase == PHASES && routing) phase = phase - 1;
            cycles[phase-1] = cycles[phase-1] + 1;
        end
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

    // Has the monitors of ALL cores, or of one, do something, and waits until they have.
    integer commands = 0;
    task command(input integer operation, input integer core);
        begin
            commands = commands + 1;
            phasecore_post(BATCH, batch);
            phasecore_post(NODE, core);
            phasecore_post(COMMAND, 16 * commands + operation);
            repeat (2) @(negedge clk);
        end
    endtask

    integer index;
    string name;
    task run_batch;
        begin
            name = $sformatf("trace_%0d.txt", batch);
            fd = $fopen(name, "w");
            if (trace) command(OPEN, ALL);
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
                    4: command(DUMP, script[index][31:0]);
                    5: command(RESTORE, script[index][31:0]);
                    default: failed = 1;
                endcase
                index = index + 1;
            end
            write_phases;
            command(CLOSE, ALL);
            $fclose(fd);
            fd = 0;
            batch = batch + 1;
        end
    endtask

    string prefix;
    initial begin
        for (index = 0; index < ACTIVITY + 256; index = index + 1) mailbox[index] = 0;
        if (!$value$plusargs("batches=%d", batches)) batches = 0;
        if (!$value$plusargs("trace=%d", trace)) trace = 1;
        if (!$value$plusargs("stall=%d", stall)) stall = 0;
        if (!$value$plusargs("settle=%d", settle)) settle = 0;
        if ($value$plusargs("stall_seed=%d", random)) random = {random[30:0], 1'b1};
        repeat (4) @(negedge clk);
        if ($value$plusargs("phasecore_macros=%s", prefix)) command(LOAD, ALL);
        rst = 0;
        @(negedge clk);
        run_batches;
    end
endmodule
