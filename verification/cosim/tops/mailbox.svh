// SPDX-License-Identifier: Apache-2.0
// Words that a simulation's top and the monitors of its tiles leave for each other.
//
// A tile that Verilator compiles once for all (hier_block) knows no name outside; there the words
// lie in mailbox.cpp. Icarus has no DPI, but looks upwards out of a module.

    localparam COMMAND = 0;    // 16 * number of the command + operation
    localparam NODE = 1;       // the core that it is for, or ALL
    localparam BATCH = 2;
    localparam CHANGES = 3;    // counts up whenever an activity changes
    localparam ACTIVITY = 16;  // flags of core 0 (see tile_monitor.svh), core 1 and so on

    localparam OPEN = 1, CLOSE = 2, LOAD = 3, DUMP = 4, RESTORE = 5;
    localparam ALL = 255;

`ifdef VERILATOR
    import "DPI-C" function int phasecore_peek(input int key);
    import "DPI-C" function void phasecore_post(input int key, input int value);
`else
    function integer phasecore_peek(input integer key);
        phasecore_peek = chip_top.mailbox[key];
    endfunction

    task phasecore_post(input integer key, input integer value);
        chip_top.mailbox[key] = value;
    endtask
`endif
