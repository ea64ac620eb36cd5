// SPDX-License-Identifier: Apache-2.0
// Reads three registers of a generated core over AXI4-Lite. Offsets: phasecore_registers.h.
`timescale 1ns / 1ps
module bench;
    reg clk = 0, rst = 1;
    reg [13:0] araddr = 0;
    reg arvalid = 0;
    wire arready, rvalid;
    wire [31:0] rdata;
    always #5 clk = !clk;

    phasecore_core core (
        .clk(clk), .rst(rst),
        .s_axil_araddr(araddr), .s_axil_arprot(3'd0), .s_axil_arvalid(arvalid),
        .s_axil_arready(arready), .s_axil_rdata(rdata), .s_axil_rvalid(rvalid),
        .s_axil_rready(1'b1),
        .s_axil_awaddr(14'd0), .s_axil_awprot(3'd0), .s_axil_awvalid(1'b0), .s_axil_wdata(32'd0),
        .s_axil_wstrb(4'd0), .s_axil_wvalid(1'b0), .s_axil_bready(1'b1),
        .s_axis_tdata(64'd0), .s_axis_tkeep(8'd0), .s_axis_tlast(1'b0), .s_axis_tvalid(1'b0),
        .m_axis_tready(1'b1)
    );

    task read(input [13:0] address);
        begin
            @(negedge clk) araddr = address;
            arvalid = 1;
            while (!arready) @(negedge clk);
            @(negedge clk) arvalid = 0;
            while (!rvalid) @(negedge clk);
        end
    endtask

    initial begin
        repeat (3) @(negedge clk);
        rst = 0;
        read(14'h0000);
        $display("ID           %h", rdata);
        if (rdata !== 32'h50434f52) $fatal(1, "not a PhaseCore");
        read(14'h0080);
        $display("CONFIG_ROWS  %0d", rdata);
        read(14'h0090);
        $display("CONFIG_ADC_BITS %0d", rdata);
        $finish;
    end
endmodule
