// SPDX-License-Identifier: Apache-2.0
// Synthesis face of the crossbar macro; see crossbar.sv.
(* blackbox *)
module phasecore_crossbar #(
    parameter ROWS = 256,
    parameter COLS = 256,
    parameter LINES = 256,
    parameter DEVICES = 1,
    parameter G_BITS = 12,
    parameter INCREMENT_BITS = 13,
    parameter RANGE_BITS = 5,
    parameter SET_CYCLES = 50,
    parameter RESET_CYCLES = 50,
    parameter REFERENCE = 8192
) (
    input                                                clk,
    input                                                backward,
    input  [1:0]                                         polarities,
    input  [DEVICES-1:0]                                 devices,
    input  [RANGE_BITS-1:0]                              range,
    input                                                first,
    input                                                active,
    input                                                reference,
    input  [LINES-1:0]                                   pwm_positive,
    input  [LINES-1:0]                                   pwm_negative,
    output [LINES*INCREMENT_BITS-1:0]                    increments,
    input                                                program_valid,
    output                                               program_ready,
    input  [$clog2(ROWS)-1:0]                            program_row,
    input  [$clog2(COLS)-1:0]                            program_col,
    input                                                program_negative,
    input  [(DEVICES > 1 ? $clog2(DEVICES) : 1)-1:0]     program_device,
    input                                                program_reset,
    input                                                program_fire
);
endmodule
