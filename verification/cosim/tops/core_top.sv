// SPDX-License-Identifier: Apache-2.0
// Simulation top of one core: clock, host transactions from files, traces to files.
//
// Python (or nobody: +batches=N) starts a batch by raising `go`; everything cycle by cycle happens
// here. Batch k reads script_k.hex (register transactions, in order) and stream_k.hex (input
// stream beats, in parallel), and writes trace_k.txt. `done` rises at its end.
//
// script word: {op[7:0], address[31:0], data[31:0]}; op 0 ends the batch, 1 writes, 2 reads
// and traces, 3 waits until the core has halted, 4 dumps chi and conductances.
// +events=1 also writes events_k.txt, for measuring: a line "cycle hex" whenever the flags of
// `flags` change; scripts/commands/bench_core.py names them.
// stream word: {unused, last, keep[7:0], data[63:0]}; word 0 is the number of beats.
`timescale 1ns / 1ps
module core_top;
    parameter POST_LANES = 64;
    parameter SCRIPT_DEPTH = 4096;
    parameter STREAM_DEPTH = 65536;

    `include "host.svh"

    reg [79:0] stream [0:STREAM_DEPTH-1];
    reg [71:0] script [0:SCRIPT_DEPTH-1];
    reg [31:0] beat = 1;
    reg [31:0] beats = 0;
    reg restart = 0;
    wire tvalid = beat <= beats && !restart;
    wire tready;
    wire [79:0] current = stream[beat];

    wire [63:0] m_tdata;
    wire [7:0] m_tkeep;
    wire m_tvalid, m_tlast;

    phasecore_core core (
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
        .m_axis_tvalid(m_tvalid), .m_axis_tready(1'b1)
    );

    always @(posedge clk)
        if (restart) beat <= 1;
        else if (tvalid && tready) beat <= beat + 1;

    // Trace: M result beat, V vector-memory write, A ADC read-out (codes two cycles after en);
    // the macro adds P lines, the register transactions R and E lines.
    integer fd = 0;
    reg [1:0] reading = 0;
    reg [POST_LANES-1:0] mask_1 = 0, mask_2 = 0;
    always @(posedge clk) begin
        reading <= {reading[0], core.adc.read__en};
        mask_1 <= core.adc.read__mask;
        mask_2 <= mask_1;
        if (trace && fd != 0) begin
            if (m_tvalid) $fwrite(fd, "M %b %h %h\n", m_tlast, m_tkeep, m_tdata);
            if (core.vectors.memory.macro.w_en)
                $fwrite(fd, "V %h %h %h\n", core.vectors.memory.macro.w_address,
                        core.vectors.memory.macro.w_mask, core.vectors.memory.macro.w_data);
            if (reading[1]) $fwrite(fd, "A %h %h\n", mask_2, core.adc.read__codes);
        end
    end

    integer events = 0;
    integer events_fd = 0;
    reg [14:0] flags = 0, flags_before = 0;
    always @(posedge clk)
        if (events_fd != 0) begin
            flags = {
                core.adc.latched,
                !core.crossbar.macro.program_ready,
                core.crossbar.macro.program_valid && core.crossbar.macro.program_ready
                    && core.crossbar.macro.program_fire,
                core.crossbar.macro.program_valid && core.crossbar.macro.program_ready,
                core.update.pulses__valid && core.update.pulses__ready,
                core.update.status__busy,
                core.update.i__valid && core.update.i__ready,
                core.vectors.memory.macro.w_en,
                core.post.status__busy,
                core.post.i__valid && core.post.i__ready,
                core.adc.read__en,
                core.driver.active,
                core.driver.timing__first,
                core.driver.i__valid && core.driver.i__ready
            };
            if (flags != flags_before) $fwrite(events_fd, "%0d %h\n", $time / 10, flags);
            flags_before = flags;
        end

    integer index, waited;
    string name;
    task run_batch;
        begin
            name = $sformatf("trace_%0d.txt", batch);
            fd = $fopen(name, "w");
            core.crossbar.macro.trace_fd = trace ? fd : 0;
            if (events != 0) begin
                name = $sformatf("events_%0d.txt", batch);
                events_fd = $fopen(name, "w");
                flags_before = 0;
            end
            name = $sformatf("script_%0d.hex", batch);
            $readmemh(name, script);
            name = $sformatf("stream_%0d.hex", batch);
            $readmemh(name, stream);
            beats = stream[0][31:0];
            restart = 1;
            index = 0;
            @(negedge clk);
            restart = 0;
            while (script[index][71:64] != 0 && !failed) begin
                case (script[index][71:64])
                    1: axil_write(script[index][63:32], script[index][31:0]);
                    2: axil_read(script[index][63:32]);
                    3: begin
                        waited = 0;
                        repeat (8) @(negedge clk);
                        while (!halted && waited < cycle_limit) begin
                            waited = waited + 1;
                            @(negedge clk);
                        end
                        failed = !halted;
                    end
                    4: begin
                        name = $sformatf("chi_%0d.hex", batch);
                        $writememh(name, core.update.chi.macro.mem);
                        name = $sformatf("state_%0d", batch);
                        core.crossbar.macro.dump(name);
                    end
                    default: failed = 1;
                endcase
                index = index + 1;
            end
            core.crossbar.macro.trace_fd = 0;
            $fclose(fd);
            fd = 0;
            if (events != 0) $fclose(events_fd);
            events_fd = 0;
            batch = batch + 1;
        end
    endtask

    initial begin
        if (!$value$plusargs("batches=%d", batches)) batches = 0;
        if (!$value$plusargs("trace=%d", trace)) trace = 1;
        if (!$value$plusargs("events=%d", events)) events = 0;
        repeat (4) @(negedge clk);
        rst = 0;
        @(negedge clk);
        run_batches;
    end
endmodule
