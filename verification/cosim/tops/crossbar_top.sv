// SPDX-License-Identifier: Apache-2.0
// The wrapped crossbar with its probes. The test puts `LINES, `ROW_BITS ... before this text.
module crossbar_top (
    input                             clk,
    input                             rst,
    input  [31:0]                     time_s,
    input                             backward,
    input  [1:0]                      polarities,
    input  [`DEVICES-1:0]             devices,
    input  [`LSB_LOG2_BITS-1:0]          lsb_log2,
    input                             first,
    input                             active,
    input                             reference,
    input  [`LINES-1:0]               pwm_positive,
    input  [`LINES-1:0]               pwm_negative,
    output [`LINES*`INCREMENT_BITS-1:0] increments,
    input                             program_valid,
    output                            program_ready,
    input  [`ROW_BITS-1:0]            program_row,
    input  [`COL_BITS-1:0]            program_col,
    input                             program_negative,
    input  [`DEVICE_BITS-1:0]         program_device,
    input                             program_reset,
    input                             program_fire,
    // Rising edge: dump the devices to dump.*.hex and reload them from there.
    input                             dump,
    output [31:0]                     windows,
    output [31:0]                     set_pulses,
    output [31:0]                     reset_pulses,
    output [31:0]                     errors
);
    crossbar dut (
        .clk(clk), .rst(rst), .time_s(time_s), .backward(backward),
        .polarities(polarities), .devices(devices), .lsb_log2(lsb_log2), .first(first), .active(active), .reference(reference),
        .pwm_positive(pwm_positive), .pwm_negative(pwm_negative), .increments(increments),
        .program__valid(program_valid), .program__ready(program_ready),
        .program__row(program_row), .program__col(program_col),
        .program__negative(program_negative), .program__device(program_device),
        .program__reset(program_reset), .program__fire(program_fire)
    );
    assign windows = dut.macro.windows;
    assign set_pulses = dut.macro.set_pulses;
    assign reset_pulses = dut.macro.reset_pulses;
    assign errors = dut.macro.errors;

    initial dut.macro.trace_fd = $fopen("trace.txt", "w");

    always @(posedge dump) begin
        $fclose(dut.macro.trace_fd);
        dut.macro.trace_fd = 0;
        dut.macro.dump("dump");
        dut.macro.load("dump");
    end
endmodule
