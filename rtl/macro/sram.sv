// SPDX-License-Identifier: Apache-2.0
// Behavioural SRAM, one write and one read port; see rtl/lib/sram.py for the contract.
module phasecore_sram #(
    parameter WIDTH = 8,
    parameter DEPTH = 2,
    parameter GRANULARITY = 8,
    parameter ADDRESS = 1
) (
    input                                clk,
    input                                w_en,
    input      [ADDRESS-1:0]             w_address,
    input      [WIDTH/GRANULARITY-1:0]   w_mask,
    input      [WIDTH-1:0]               w_data,
    input                                r_en,
    input      [ADDRESS-1:0]             r_address,
    output reg [WIDTH-1:0]               r_data
);
    reg [WIDTH-1:0] mem [0:DEPTH-1];
    integer i;
    initial begin
        for (i = 0; i < DEPTH; i = i + 1) mem[i] = {WIDTH{1'b0}};
        r_data = {WIDTH{1'b0}};
    end
    always @(posedge clk) begin
        if (r_en) r_data <= mem[r_address];
        if (w_en) begin
            if (&w_mask) mem[w_address] <= w_data;
            else
                for (i = 0; i < WIDTH / GRANULARITY; i = i + 1)
                    if (w_mask[i])
                        mem[w_address][i*GRANULARITY +: GRANULARITY]
                            <= w_data[i*GRANULARITY +: GRANULARITY];
        end
    end
endmodule
