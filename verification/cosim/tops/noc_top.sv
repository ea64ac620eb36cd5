// SPDX-License-Identifier: Apache-2.0
// Traffic on a noc: a source with queues and a sink at every node, measured and checked.
//
// Every packet is checked on arrival (destination, network, length, order, nothing interleaved),
// and at the end every flit and credit is accounted for. One JSON line tells the result.
//
// Macros: NOC is the module under test; bit n * N + k of NEAR tells that node n reaches node k
// (of a mesh, all), of FORWARD that there is an edge from n to k in the table of a direct noc.
//
// +rate=R      a node makes a packet with probability R / 2**32 per cycle
// +pattern=P   0 uniform (mesh: self included; direct links: the neighbours), 1 transpose,
//              2 tornado, 3 neighbour, 4 broadcast (all that a node reaches, by whole columns),
//              5 every pair of nodes alone, one after another, latency compared with R + L,
//              6 forward (direct links: the neighbours along edges)
// +length=L    flits of a packet
// +order=O     0 XY, 1 YX, 2 in turn, 3 chosen by source and destination; packets take the
//              channels of their network in turn
// +multicast=M percent of packets that go to random rows and columns instead
// +stall=S     percent of cycles in which a sink takes nothing
// +warmup, +measure, +limit: cycles; packets made while measuring count for the latency
// +trace=FILE  a line "cycle node source birth" per delivered packet
module noc_top;
    parameter WIDTH = 4, HEIGHT = 4, VCS = 2, XY = 1, DEPTH = 4, DIRECT = 0;
    localparam N = WIDTH * HEIGHT;
    localparam VB = VCS > 2 ? 2 : 1;
    localparam [N*N-1:0] NEAR = `NEAR, FORWARD = `FORWARD;
    localparam FLIT = 64;
    localparam QUEUE = 2048;

    reg clk = 0, rst = 1;
    always #5 clk = ~clk;

    reg [N-1:0] i_valid = 0, i_head = 0, i_tail = 0;
    reg [N*VB-1:0] i_vc = 0;
    reg [N*FLIT-1:0] i_data = 0;
    reg [N*VCS-1:0] o_credit = 0;
    wire [N*VCS-1:0] i_credit;
    wire [N-1:0] o_valid, o_head, o_tail;
    wire [N*VB-1:0] o_vc;
    wire [N*FLIT-1:0] o_data;
    wire [N*6-1:0] error;
    wire [N*16-1:0] errors;

    `NOC noc (
        .clk(clk), .rst(rst), .i_valid(i_valid), .i_vc(i_vc), .i_head(i_head), .i_tail(i_tail),
        .i_data(i_data), .i_credit(i_credit), .o_valid(o_valid), .o_vc(o_vc), .o_head(o_head),
        .o_tail(o_tail), .o_data(o_data), .o_credit(o_credit), .error(error), .errors(errors)
    );

    function automatic [31:0] mix(input [31:0] value);
        reg [31:0] v;
        v = value ^ (value >> 16);
        v = v * 32'h7feb352d;
        v = v ^ (v >> 15);
        v = v * 32'h846ca68b;
        return v ^ (v >> 16);
    endfunction

    // plusargs
    reg [31:0] rate = 0, seed = 1;
    integer pattern = 0, length = 1, order = 0, multicast = 0, stall = 0;
    integer warmup = 1000, measure = 4000, limit = 40000;
    reg [8*256-1:0] trace_name;
    integer trace = 0;

    function automatic [31:0] key(input [31:0] draw, input [31:0] index, input [31:0] event_);
        return mix(mix(mix(seed ^ (draw * 32'h9e3779b9)) ^ index) ^ event_);
    endfunction

    // Sources: one queue per channel; a queued packet is its header and its birth.
    reg [25:0] q_header [0:N*VCS*QUEUE-1];
    reg [31:0] q_birth [0:N*VCS*QUEUE-1];
    integer q_put [0:N*VCS-1];
    integer q_get [0:N*VCS-1];
    integer position [0:N*VCS-1];     // flits sent of the first packet in the queue
    integer made [0:N-1];
    integer credits [0:N*VCS-1];
    integer last_channel [0:N-1];

    // Sinks
    integer occupied [0:N*VCS-1];
    integer received [0:N*VCS-1];     // flits of the open packet, 0 if none is
    integer expected [0:N*VCS-1];
    reg [31:0] open_birth [0:N*VCS-1];
    integer open_source [0:N*VCS-1];
    reg [31:0] newest [0:N*N*VCS-1];

    // Statistics
    integer ejected [0:N-1];          // flits by source while measuring
    longint latency_sum = 0;
    integer latency_max = 0;
    integer counted_sent = 0, counted_received = 0;
    longint flits_sent = 0, flits_received = 0, flits_expected = 0;
    reg [31:0] sum_sent = 0, sum_received = 0;
    integer refused = 0, bad = 0;
    reg stopped = 0, overdue = 0;
    integer idle = 0;
    integer pair = -1, pair_wait = 4;
    integer cycle = 0;

    integer n, v, k, x, y, o, s, to, hops, deliveries, sx, sy;
    reg [31:0] h;
    reg [25:0] header;
    reg [7:0] cols, rows;
    reg many, empty, kept;

    task automatic complain(input integer node, input integer what);
        bad = bad + 1;
        if (bad <= 5) $display("ERROR node %0d cycle %0d check %0d", node, cycle, what);
    endtask

    function automatic integer bits(input [7:0] mask);
        integer b;
        bits = 0;
        for (b = 0; b < 8; b = b + 1) bits = bits + mask[b];
    endfunction

    // Columns of a multicast of which a node reaches all the rows.
    function automatic [7:0] within_reach(input integer source, input [7:0] cols, rows);
        integer node;
        within_reach = cols;
        for (node = 0; node < N; node = node + 1)
            if (rows[node / WIDTH] && !NEAR[source * N + node]) within_reach[node % WIDTH] = 0;
    endfunction

    // Puts a packet of a node into its queue.
    task automatic make(input integer source, input integer to, input integer pattern_);
        h = key(2, source, made[source]);
        cols = pattern_ == 4 ? (1 << WIDTH) - 1 : (1 + mix(h ^ 1) % ((1 << WIDTH) - 1));
        rows = pattern_ == 4 ? (1 << HEIGHT) - 1 : (1 + mix(h ^ 2) % ((1 << HEIGHT) - 1));
        many = pattern_ == 4 || (multicast != 0 && h[31:8] % 100 < multicast);
        if (many) cols = within_reach(source, cols, rows);
        if (cols == 0) many = 0;
        x = to % WIDTH;
        y = to / WIDTH;
        case (order)
            0, 1: o = order;
            2: o = made[source] & 1;
            default: o = key(3, source, to) & 1;
        endcase
        if (VCS == XY || many) o = 0;
        header = many ? {rows, cols, length[7:0], 2'b01}
                      : {8'b0, y[3:0], x[3:0], length[7:0], o[0], 1'b0};
        v = made[source] / (order == 2 && VCS > XY ? 2 : 1);
        k = source * VCS + (o == 0 ? v % XY : XY + v % (VCS - XY + (VCS == XY)));
        made[source] = made[source] + 1;
        if (q_put[k] - q_get[k] == QUEUE) refused = refused + 1;
        else begin
            q_header[k * QUEUE + q_put[k] % QUEUE] = header;
            q_birth[k * QUEUE + q_put[k] % QUEUE] = cycle;
            q_put[k] = q_put[k] + 1;
            if (cycle >= warmup && cycle < warmup + measure)
                counted_sent = counted_sent + (many ? bits(cols) * bits(rows) : 1);
        end
    endtask

    // Destination of a packet; -1 if the pattern has none for this node.
    task automatic choose(input integer source, output integer to, input [31:0] random);
        integer cx, cy, c;
        reg [N-1:0] choices;
        cx = source % WIDTH;
        cy = source / WIDTH;
        case (pattern)
            1: to = cx * WIDTH + cy;
            2: to = (cy + (HEIGHT + 1) / 2 - 1) % HEIGHT * WIDTH + (cx + (WIDTH + 1) / 2 - 1) % WIDTH;
            3: to = (cy + 1) % HEIGHT * WIDTH + (cx + 1) % WIDTH;
            4: to = source;
            default: if (DIRECT == 0) to = (64'(random) * N) >> 32;
            else begin
                choices = pattern == 6 ? FORWARD[source * N +: N] : NEAR[source * N +: N];
                choices[source] = 0;
                c = (64'(random) * $countones(choices)) >> 32;
                to = -1;
                for (int node = 0; node < N; node = node + 1)
                    if (choices[node]) begin
                        if (c == 0) to = node;
                        c = c - 1;
                    end
            end
        endcase
    endtask

    // One flit of node `source` on channel `vc`, if there is one and a credit for it.
    task automatic inject(input integer source, input integer vc, output reg done);
        integer q, p;
        done = 0;
        q = source * VCS + vc;
        if (q_put[q] != q_get[q] && !(stopped && overdue && position[q] == 0)
            && credits[q] > 0) begin
            p = q * QUEUE + q_get[q] % QUEUE;
            header = q_header[p];
            h = q_birth[p];
            done = 1;
            credits[q] = credits[q] - 1;
            i_valid[source] <= 1;
            i_vc[source * VB +: VB] <= vc;
            i_head[source] <= position[q] == 0;
            i_tail[source] <= position[q] == length - 1;
            i_data[source * FLIT +: FLIT] <= position[q] == 0
                ? {h, source[5:0], header}
                : {h, source[5:0], position[q][9:0], 16'(mix(h ^ position[q]) >> 16)};
            deliveries = header[0] ? bits(header[17:10]) * bits(header[25:18]) : 1;
            flits_sent = flits_sent + 1;
            flits_expected = flits_expected + deliveries;
            position[q] = position[q] + 1;
            if (position[q] == length) begin
                sum_sent = sum_sent + deliveries * mix(h ^ source);
                position[q] = 0;
                q_get[q] = q_get[q] + 1;
            end
        end
    endtask

    task automatic eject(input integer node);
        integer c, vc;
        reg [63:0] d;
        vc = o_vc[node * VB +: VB];
        c = node * VCS + vc;
        d = o_data[node * FLIT +: FLIT];
        occupied[c] = occupied[c] + 1;
        if (occupied[c] > DEPTH) complain(node, 1);
        flits_received = flits_received + 1;
        if (received[c] == 0) begin
            if (!o_head[node]) complain(node, 2);
            if (d[0] ? !(d[10 + node % WIDTH] && d[18 + node / WIDTH])
                     : d[13:10] != node % WIDTH || d[17:14] != node / WIDTH) complain(node, 3);
            if (d[1] != (vc >= XY)) complain(node, 4);
            open_birth[c] = d[63:32];
            open_source[c] = d[31:26];
            expected[c] = d[9:2];
            k = (open_source[c] * N + node) * VCS + vc;
            if (newest[k] != 32'hffffffff && newest[k] >= d[63:32]) complain(node, 5);
            newest[k] = d[63:32];
        end else begin
            if (o_head[node]) complain(node, 6);
            if (d[63:26] != {open_birth[c], open_source[c][5:0]}) complain(node, 7);
            if (d[25:0] != {received[c][9:0], 16'(mix(d[63:32] ^ received[c]) >> 16)})
                complain(node, 8);
        end
        received[c] = received[c] + 1;
        s = open_source[c];
        if (cycle >= warmup && cycle < warmup + measure) ejected[s] = ejected[s] + 1;
        if (o_tail[node] != (received[c] == expected[c])) complain(node, 9);
        if (o_tail[node]) begin
            received[c] = 0;
            sum_received = sum_received + mix(open_birth[c] ^ s);
            k = cycle - open_birth[c];
            if (trace != 0) $fwrite(trace, "%0d %0d %0d %0d\n", cycle, node, s, open_birth[c]);
            if (open_birth[c] >= warmup && open_birth[c] < warmup + measure) begin
                counted_received = counted_received + 1;
                latency_sum = latency_sum + k;
                if (k > latency_max) latency_max = k;
            end
            if (pattern == 5) begin
                sx = s % WIDTH - node % WIDTH;
                sy = s / WIDTH - node / WIDTH;
                hops = DIRECT != 0 ? 1 + (s != node) : 1 + (sx < 0 ? -sx : sx) + (sy < 0 ? -sy : sy);
                if (k != hops + length) complain(node, 10);
                pair_wait = 4;
            end
        end
    endtask

    initial begin
        void'($value$plusargs("rate=%d", rate));
        void'($value$plusargs("seed=%d", seed));
        void'($value$plusargs("pattern=%d", pattern));
        void'($value$plusargs("length=%d", length));
        void'($value$plusargs("order=%d", order));
        void'($value$plusargs("multicast=%d", multicast));
        void'($value$plusargs("stall=%d", stall));
        void'($value$plusargs("warmup=%d", warmup));
        void'($value$plusargs("measure=%d", measure));
        void'($value$plusargs("limit=%d", limit));
        if ($value$plusargs("trace=%s", trace_name)) trace = $fopen(trace_name, "w");
        for (n = 0; n < N; n = n + 1) begin
            made[n] = 0;
            ejected[n] = 0;
            last_channel[n] = 0;
        end
        for (n = 0; n < N * VCS; n = n + 1) begin
            q_put[n] = 0;
            q_get[n] = 0;
            position[n] = 0;
            credits[n] = DEPTH;
            occupied[n] = 0;
            received[n] = 0;
        end
        for (n = 0; n < N * N * VCS; n = n + 1) newest[n] = 32'hffffffff;
        repeat (4) @(posedge clk);
        @(negedge clk) rst = 0;
    end

    always @(posedge clk) if (!rst) begin
        // Sinks first: they see the cycle that ends now.
        for (n = 0; n < N; n = n + 1) begin
            if (o_valid[n]) eject(n);
            for (v = 0; v < VCS; v = v + 1) begin
                k = n * VCS + v;
                o_credit[k] <= 0;
                if (occupied[k] > 0 && (stall == 0 || key(4, k, cycle) % 100 >= stall)) begin
                    o_credit[k] <= 1;
                    occupied[k] = occupied[k] - 1;
                end
                if (i_credit[k]) credits[k] = credits[k] + 1;
                if (credits[k] > DEPTH) complain(n, 11);
            end
        end
        // Sources
        if (pattern == 5) begin
            if (pair_wait > 0) begin
                pair_wait = pair_wait - 1;
                if (pair_wait == 0) begin
                    do pair = pair + 1; while (pair < N * N && !NEAR[pair]);
                    if (pair < N * N) make(pair / N, pair % N, 5);
                    else stopped = 1;
                end
            end
        end else if (!stopped) begin
            for (n = 0; n < N; n = n + 1)
                if (key(1, n, cycle) < rate) begin
                    choose(n, to, key(5, n, cycle));
                    if (to >= 0) make(n, to, pattern);
                end
        end
        for (n = 0; n < N; n = n + 1) begin
            i_valid[n] <= 0;
            kept = 0;
            for (v = 1; v <= VCS && !kept; v = v + 1) begin
                inject(n, (last_channel[n] + v) % VCS, kept);
                if (kept) last_channel[n] = (last_channel[n] + v) % VCS;
            end
        end
        // End
        cycle = cycle + 1;
        if (!stopped && pattern != 5 && cycle >= warmup + measure) begin
            overdue = cycle >= warmup + measure + limit;
            stopped = counted_received == counted_sent || overdue;
        end
        if (stopped) begin
            empty = flits_received == flits_expected;
            for (n = 0; n < N * VCS; n = n + 1) if (credits[n] != DEPTH) empty = 0;
            for (n = 0; n < N * VCS; n = n + 1)
                if (position[n] != 0 || (!overdue && q_put[n] != q_get[n])) empty = 0;
            idle = empty ? idle + 1 : 0;
            if (idle == 8 || cycle == warmup + measure + 3 * limit + 300 * N * N) begin
                if (!empty || flits_received != flits_expected || sum_sent != sum_received)
                    complain(0, 12);
                if (errors != 0) complain(0, 13);
                $write("RESULT {\"cycles\": %0d, \"bad\": %0d, \"hung\": %0d, ", cycle, bad, !empty);
                $write("\"flits_sent\": %0d, \"flits_received\": %0d, ", flits_sent, flits_received);
                $write("\"packets\": %0d, \"received\": %0d, ", counted_sent, counted_received);
                $write("\"latency_sum\": %0d, \"latency_max\": %0d, ", latency_sum, latency_max);
                $write("\"refused\": %0d, \"overdue\": %0d, \"ejected\": [", refused, overdue);
                for (n = 0; n < N; n = n + 1) $write("%0d%s", ejected[n], n == N - 1 ? "" : ", ");
                $display("]}");
                if (trace != 0) $fclose(trace);
                $finish;
            end
        end
    end
endmodule
