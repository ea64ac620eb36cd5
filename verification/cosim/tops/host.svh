// SPDX-License-Identifier: Apache-2.0
// What the simulation tops have in common: clock, AXI4-Lite master of the host, loop of batches.
// Included in a module that declares `integer fd` and `task run_batch`.

    reg clk = 0;
    reg rst = 1;
    // What Python reads and writes, by name.
    reg go /* verilator public_flat_rw */ = 0;
    reg done /* verilator public_flat_rw */ = 0;
    reg failed /* verilator public_flat_rw */ = 0;
    reg trace = 1;
    integer batches = 0;
    integer batch = 0;
    integer cycle_limit = 100000000;

    always #5 clk = ~clk;

    reg [31:0] awaddr = 0, wdata = 0, araddr = 0;
    reg awvalid = 0, wvalid = 0, arvalid = 0;
    wire awready, wready, arready, bvalid, rvalid, halted;
    wire [31:0] rdata;
    wire [1:0] bresp, rresp;

    // The host changes its signals at falling edges, so that nothing races with the design.
    task axil_write(input [31:0] address, input [31:0] value);
        reg address_taken, data_taken;
        begin
            awaddr = address; wdata = value; awvalid = 1; wvalid = 1;
            while (awvalid || wvalid) begin
                address_taken = awready; data_taken = wready;
                @(negedge clk);
                if (address_taken) awvalid = 0;
                if (data_taken) wvalid = 0;
            end
            while (!bvalid) @(negedge clk);
            if (bresp != 0) $fwrite(fd, "E write %h %h\n", address, bresp);
            @(negedge clk);
        end
    endtask

    task axil_read(input [31:0] address);
        reg taken;
        begin
            araddr = address; arvalid = 1;
            while (arvalid) begin
                taken = arready;
                @(negedge clk);
                if (taken) arvalid = 0;
            end
            while (!rvalid) @(negedge clk);
            $fwrite(fd, "R %h %h %h\n", address, rdata, rresp);
            @(negedge clk);
        end
    endtask

    // All batches, or one whenever Python raises `go`.
    task run_batches;
        begin
            if (batches != 0) begin
                while (batch < batches && !failed) run_batch;
                $display("batches %0d failed %0d", batch, failed);
                $finish;
            end
            else forever begin
                while (!go) @(negedge clk);
                done = 0;
                run_batch;
                done = 1;
                while (go) @(negedge clk);
            end
        end
    endtask
