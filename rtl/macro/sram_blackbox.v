// SPDX-License-Identifier: Apache-2.0
// Synthesis face of the SRAM; see sram.sv.
(* blackbox *)
module phasecore_sram #(
    parameter WIDTH = 8,
    parameter DEPTH = 2,
    parameter GRANULARITY = 8,
    parameter ADDRESS = 1
) (
    input                            clk,
    input                            w_en,
    input  [ADDRESS-1:0]             w_address,
    input  [WIDTH/GRANULARITY-1:0]   w_mask,
    input  [WIDTH-1:0]               w_data,
    input                            r_en,
    input  [ADDRESS-1:0]             r_address,
    output [WIDTH-1:0]               r_data
);
endmodule
