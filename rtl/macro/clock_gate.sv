// SPDX-License-Identifier: Apache-2.0
// Behavioural clock gate (latch and AND); see rtl/lib/clock_gate.py.
module phasecore_clock_gate (
    input  clk,
    input  enable,
    output gated
);
    reg open = 1'b1;
    always @(clk or enable) if (!clk) open <= enable;
    assign gated = clk & open;
endmodule
