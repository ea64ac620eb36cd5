// SPDX-License-Identifier: Apache-2.0
// Self-checking testbench of @TOP@, without a library: it reads the ID, writes a program that sends
// a vector back, and compares what comes. For any simulator of Verilog-2005.
module @TOP@_tb;
    localparam ADDRESS_BITS = @ADDRESS_BITS@;
    localparam BYTES = @BYTES@;
    localparam BEATS = @BEATS@;

    reg                     clk = 1'b0, rst = 1'b1;
    reg  [ADDRESS_BITS-1:0] awaddr = 0, araddr = 0;
    reg                     awvalid = 1'b0, wvalid = 1'b0, bready = 1'b0;
    reg                     arvalid = 1'b0, rready = 1'b0;
    reg  [31:0]             wdata = 0;
    wire                    awready, wready, bvalid, arready, rvalid, halted;
    wire [31:0]             rdata;
    wire [1:0]              bresp, rresp;
    reg  [8*BYTES-1:0]      in_data = 0;
    reg                     in_last = 1'b0, in_valid = 1'b0, out_ready = 1'b0;
    wire [8*BYTES-1:0]      out_data;
    wire [BYTES-1:0]        out_keep;
    wire                    out_last, out_valid, in_ready;
    integer                 errors = 0, beat = 0;

    @TOP@ dut (
        .clk(clk), .rst(rst), .halted(halted),
        .s_axil_awaddr(awaddr), .s_axil_awprot(3'b0), .s_axil_awvalid(awvalid),
        .s_axil_awready(awready), .s_axil_wdata(wdata), .s_axil_wstrb(4'hf),
        .s_axil_wvalid(wvalid), .s_axil_wready(wready), .s_axil_bresp(bresp),
        .s_axil_bvalid(bvalid), .s_axil_bready(bready), .s_axil_araddr(araddr),
        .s_axil_arprot(3'b0), .s_axil_arvalid(arvalid), .s_axil_arready(arready),
        .s_axil_rdata(rdata), .s_axil_rresp(rresp), .s_axil_rvalid(rvalid),
        .s_axil_rready(rready),
        .s_axis_tdata(in_data), .s_axis_tkeep({BYTES{1'b1}}), .s_axis_tlast(in_last),
        .s_axis_tvalid(in_valid), .s_axis_tready(in_ready),
        .m_axis_tdata(out_data), .m_axis_tkeep(out_keep), .m_axis_tlast(out_last),
        .m_axis_tvalid(out_valid), .m_axis_tready(out_ready)
    );

    always #5 clk = ~clk;

    // Inputs change at falling edges; what is taken at a rising edge is looked at just before it.
    task write(input [ADDRESS_BITS-1:0] address, input [31:0] value);
        begin
            @(negedge clk);
            awaddr = address;
            wdata = value;
            awvalid = 1'b1;
            wvalid = 1'b1;
            bready = 1'b1;
            while (awvalid || wvalid) begin : accept
                reg address_taken, data_taken;
                #4 address_taken = awvalid && awready;
                data_taken = wvalid && wready;
                @(negedge clk);
                if (address_taken) awvalid = 1'b0;
                if (data_taken) wvalid = 1'b0;
            end
            #4;
            while (!bvalid) #10;
            if (bresp != 2'b00) begin
                $display("ERROR: write to %h refused", address);
                errors = errors + 1;
            end
            @(negedge clk) bready = 1'b0;
        end
    endtask

    task check(input [ADDRESS_BITS-1:0] address, input [31:0] expected);
        begin
            @(negedge clk);
            araddr = address;
            arvalid = 1'b1;
            rready = 1'b1;
            #4;
            while (!arready) #10;
            @(negedge clk) arvalid = 1'b0;
            #4;
            while (!rvalid) #10;
            if (rresp != 2'b00 || rdata !== expected) begin
                $display("ERROR: register %h is %h, not %h", address, rdata, expected);
                errors = errors + 1;
            end
            @(negedge clk) rready = 1'b0;
        end
    endtask

    task send(input [8*BYTES-1:0] data, input last);
        begin
            @(negedge clk);
            in_data = data;
            in_last = last;
            in_valid = 1'b1;
            #4;
            while (!in_ready) #10;
            @(negedge clk) in_valid = 1'b0;
        end
    endtask

    task receive(input [8*BYTES-1:0] expected, input last);
        begin
            @(negedge clk) out_ready = 1'b1;
            #4;
            while (!out_valid) #10;
            if (out_data !== expected || out_last !== last) begin
                $display("ERROR: beat %0d is %h, not %h", beat, out_data, expected);
                errors = errors + 1;
            end
            beat = beat + 1;
            @(negedge clk) out_ready = 1'b0;
        end
    endtask

    initial begin
        repeat (5) @(negedge clk);
        rst = 1'b0;
        // ID and VERSION.
@READS@
        // Program and what it needs.
@WRITES@
        // A vector: its header, then eight codes per beat, the first in the lowest byte.
@SENDS@
        // The same codes, behind the header of a result.
@RECEIVES@
        while (!halted) @(negedge clk);
        if (errors != 0) begin
            $display("FAILED: %0d errors", errors);
        end else begin
            $display("PASSED: %0d beats", BEATS);
        end
        $finish;
    end

    initial begin
        #1000000;
        $display("FAILED: no end after %0d of %0d beats", beat, BEATS);
        $finish;
    end
endmodule
