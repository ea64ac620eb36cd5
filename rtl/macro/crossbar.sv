// SPDX-License-Identifier: Apache-2.0
// Behavioural crossbar of phase-change devices; contract in docs/contract/crossbar.md.
// Simulators only (Icarus 11, Verilator 5): synthesis takes the header alone, as a black box.
//
// State and device profile come from the files <prefix>.NAME.hex, loaded at time 0 with
// +phasecore_macro=<prefix> or by calling load(); dump() writes them. Without files: the ideal
// profile and every conductance 0.
module phasecore_crossbar #(
    parameter [31:0] ROWS = 256,
    parameter [31:0] COLS = 256,
    parameter [31:0] LINES = 256,
    parameter [31:0] DEVICES = 1,
    parameter [31:0] G_BITS = 12,
    parameter [31:0] INCREMENT_BITS = 5,
    parameter [31:0] LSB_LOG2_BITS = 5,
    parameter [31:0] SET_CYCLES = 50,
    parameter [31:0] RESET_CYCLES = 50,
    parameter [31:0] REFERENCE = 8192
) (
    input                                              clk,
    // Forgets devices that are selected but not pulsed; a pulse goes on.
    input                                              rst,
    // Seconds since power-up, for drift and read noise: silicon leaves it open.
    input      [31:0]                                  time_s,
    input                                              backward,
    input      [1:0]                                   polarities,
    input      [DEVICES-1:0]                           devices,
    input      [LSB_LOG2_BITS-1:0]                        lsb_log2,
    input                                              first,
    input                                              active,
    input                                              reference,
    input      [LINES-1:0]                             pwm_positive,
    input      [LINES-1:0]                             pwm_negative,
    output reg [LINES*INCREMENT_BITS-1:0]              increments,
    input                                              program_valid,
    output reg                                         program_ready,
    input      [$clog2(ROWS)-1:0]                      program_row,
    input      [$clog2(COLS)-1:0]                      program_col,
    input                                              program_negative,
    input      [(DEVICES > 1 ? $clog2(DEVICES) : 1)-1:0] program_device,
    input                                              program_reset,
    input                                              program_fire
);
    localparam COUNT = ROWS * COLS * 2 * DEVICES;
    localparam G_MAX = (1 << G_BITS) - 1;
    localparam N_MAX = 31;
    localparam STUCK = N_MAX + 1;
    // Most that a line counts in a cycle, up or down.
    localparam INCREMENT_MAX = (1 << (INCREMENT_BITS - 1)) - 1;
    localparam LOG2_DEVICES = $clog2(DEVICES);
    // Lines are searched for edges in words, most of which have none.
    localparam WORD = LINES < 32 ? 8 : 32;
    localparam WORDS = LINES / WORD;

    // Words of <prefix>.params.hex.
    localparam P_SEED = 0;
    localparam P_WINDOWS = 1;
    localparam P_G_MIN = 2;
    localparam P_MU_SLOPE = 3;
    localparam P_SD_SLOPE = 4;
    localparam P_RESET_MEAN = 5;
    localparam P_RESET_SD = 6;
    localparam P_G_NOISE = 7;
    localparam P_ADC_NOISE = 8;
    localparam P_TIME = 9;
    localparam P_DRIFT_TIME = 10;
    // Slope, offset, least and largest value.
    localparam P_NU = 11;
    localparam P_NU_SPREAD = 15;
    localparam P_MU_TABLE = 19;
    localparam P_SD_TABLE = P_MU_TABLE + N_MAX + 1;
    localparam P_NOISE_TABLE = P_SD_TABLE + N_MAX + 1;
    localparam P_LOG2_TABLE = P_NOISE_TABLE + 33;
    localparam P_EXP2_TABLE = P_LOG2_TABLE + 65;
    localparam P_GAIN = P_EXP2_TABLE + 65;
    localparam P_OFFSET = P_GAIN + LINES;
    localparam PARAMS = P_OFFSET + LINES;

    // Devices, index ((row * COLS + col) * 2 + negative) * DEVICES + device.
    reg [G_BITS-1:0] conductance [0:COUNT-1];
    reg [5:0]        pulses_since_reset [0:COUNT-1];
    reg [31:0]       events [0:COUNT-1];
    reg [31:0]       event_time [0:COUNT-1];
    // What is left of the conductance at time `now`, which follows `time_s` but not in a window.
    reg [G_BITS-1:0] drifted [0:COUNT-1];
    reg [31:0]       now;
    longint          g_noise;
    reg [31:0]       params [0:PARAMS-1];

    // Loops of up to 64 steps, nested ones altogether, are unrolled by Verilator unless told not to:
    // small arrays would take it minutes. That pragma is a statement, so that bodies with it need
    // begin and end; and no other comment may begin with its name.

    // Weights with everything enabled, once per direction so that both sum contiguous memory.
    int weight_forward [0:ROWS-1][0:COLS-1];
    int weight_backward [0:COLS-1][0:ROWS-1];
    int gain [0:LINES-1];
    int offset [0:LINES-1];

    // Counters, for benches.
    reg [31:0] windows /* verilator public_flat_rd */;
    reg [31:0] set_pulses /* verilator public_flat_rd */;
    reg [31:0] reset_pulses /* verilator public_flat_rd */;
    reg [31:0] errors /* verilator public_flat_rd */;
    // File that takes one line per programmed device; a bench may set it.
    integer trace_fd = 0;

    // The window. Loops over lines count with unsigned variables, because a C++ compiler can
    // vectorise the simulator's code only then.
    int current [0:LINES-1];
    int drift [0:LINES-1];
    // Charge without noise, and the deviate that `noise_scale` is multiplied by.
    longint charge [0:LINES-1];
    int noise [0:LINES-1];
    int counted [0:LINES-1];
    int cycle;
    int driven;
    int enabled;
    longint squares;
    longint noise_scale;
    reg [LINES-1:0] positive_before;
    reg [LINES-1:0] negative_before;
    int busy;
    // Devices selected since the last fire: all in one row, each at most once.
    int unsigned selection [0:COLS*2*DEVICES-1];
    int unsigned selected;

    function automatic [31:0] mix(input [31:0] value);
        reg [31:0] x;
        begin
            x = value;
            x = x ^ (x >> 16);
            x = x * 32'h7feb352d;
            x = x ^ (x >> 15);
            x = x * 32'h846ca68b;
            mix = x ^ (x >> 16);
        end
    endfunction

    function automatic [31:0] key(
        input [31:0] draw, input [31:0] index, input [31:0] event_count
    );
        key = mix(mix(mix(params[P_SEED] ^ (draw * 32'h9e3779b9)) ^ index) ^ event_count);
    endfunction

    function automatic int gauss(input [31:0] k);
        reg [31:0] a, b;
        int t;
        begin
            a = mix(k);
            b = mix(k ^ 32'h85ebca6b);
            t = int'(a[7:0]) + int'(a[15:8]) + int'(a[23:16]) + int'(a[31:24])
                + int'(b[7:0]) + int'(b[15:8]) + int'(b[23:16]) + int'(b[31:24]) - 1020;
            gauss = (t * 1254 + 512) >>> 10;
        end
    endfunction

    // Largest integer whose square is at most `value`, 0 .. 2**63 - 1.
    function automatic longint isqrt(input longint value);
        longint root;
        begin
            // A floating-point root is off by one at most.
            root = longint'($sqrt(real'(value)));
            if (root * root > value) root = root - 1;
            else if ((root + 1) * (root + 1) <= value) root = root + 1;
            isqrt = root;
        end
    endfunction

    function automatic longint clip(input longint value, input longint low, input longint high);
        clip = value < low ? low : value > high ? high : value;
    endfunction

    function automatic int weight(
        input int unsigned row, input int unsigned col, input [1:0] polarity,
        input [DEVICES-1:0] device
    );
        int base, d;
        begin
            weight = 0;
            base = (row * COLS + col) * 2 * DEVICES;
            for (d = 0; d < DEVICES; d = d + 1)
                if (device[d]) begin
                    if (polarity[0]) weight = weight + int'(drifted[base + d]);
                    if (polarity[1]) weight = weight - int'(drifted[base + DEVICES + d]);
                end
        end
    endfunction

    task automatic cache_weight(input int unsigned row, input int unsigned col);
        int w;
        begin
            w = weight(row, col, 2'b11, {DEVICES{1'b1}});
            weight_forward[row][col] = w;
            weight_backward[col][row] = w;
        end
    endtask

    // At `fraction` (1/2**16) of a table of 65 points.
    function automatic longint interpolate(input int table_start, input longint fraction);
        longint low, high;
        int point;
        begin
            point = table_start + int'(fraction >>> 10);
            low = longint'(params[point]);
            high = longint'(params[point + 1]);
            interpolate = low + (((high - low) * (fraction & 1023)) >>> 10);
        end
    endfunction

    // In 1/2**16, of a positive value.
    function automatic longint log2(input longint value);
        int place;
        longint normal;
        begin
            place = 0;
            while ((value >>> (place + 1)) != 0) place = place + 1;
            normal = place >= 16 ? value >>> (place - 16) : value << (16 - place);
            log2 = (longint'(place) << 16) + interpolate(P_LOG2_TABLE, normal & 65535);
        end
    endfunction

    // A straight line over a logarithm between its bounds, in 1/2**20.
    function automatic longint clamped(input int line, input longint level);
        longint slope, start, low, high;
        begin
            slope = $signed(params[line]);
            start = $signed(params[line + 1]);
            low = $signed(params[line + 2]);
            high = $signed(params[line + 3]);
            clamped = clip(((level * slope) >>> 16) + start, low, high);
        end
    endfunction

    function automatic longint conductance_now(input int unsigned index);
        longint value, level, nu, z, since, start, exponent;
        int shift;
        begin
            value = longint'(conductance[index]);
            since = longint'(now) - longint'(event_time[index]);
            if (pulses_since_reset[index] != STUCK && since > 0) begin
                level = log2(value == 0 ? 1 : value) - log2(G_MAX);
                z = gauss(key(6, index, events[index]));
                nu = clamped(P_NU, level) + ((clamped(P_NU_SPREAD, level) * z) >>> 8);
                if (nu < 0) nu = 0;
                start = longint'(params[P_DRIFT_TIME]);
                exponent = (nu * (log2((since << 4) + start) - log2(start))) >>> 20;
                if (exponent > 20'hfffff) exponent = 20'hfffff;
                shift = 16 + int'(exponent >>> 16);
                value = (value * interpolate(P_EXP2_TABLE, exponent & 65535)
                         + (longint'(1) << (shift - 1))) >>> shift;
            end
            conductance_now = value;
        end
    endfunction

    // Read noise, and what devices conduct, at another time.
    task automatic pass_time(input [31:0] seconds);
        int unsigned index;
        longint octaves, factor, following;
        int point;
        begin
            now = seconds;
            octaves = log2(now == 0 ? 1 : longint'(now));
            point = P_NOISE_TABLE + int'(octaves >>> 16);
            factor = longint'(params[point]);
            following = longint'(params[point + 1]);
            factor = factor + (((following - factor) * (octaves & 65535)) >>> 16);
            g_noise = (longint'(params[P_G_NOISE]) * factor + 2048) >>> 12;
            if (params[P_NU + 3] != 0) begin
                // verilator unroll_disable
                for (index = 0; index < COUNT; index = index + 1)
                    drifted[index] = conductance_now(index);
                cache_weights;
            end
        end
    endtask

    task automatic cache_weights;
        int unsigned row, col;
        begin
            // verilator unroll_disable
            for (row = 0; row < ROWS; row = row + 1) begin
                // verilator unroll_disable
                for (col = 0; col < COLS; col = col + 1) cache_weight(row, col);
            end
        end
    endtask

    // Everything that is derived from params and the devices.
    task automatic update_caches;
        int unsigned j;
        begin
            // verilator unroll_disable
            for (j = 0; j < LINES; j = j + 1) begin
                gain[j] = params[P_GAIN + j];
                offset[j] = params[P_OFFSET + j];
            end
            // verilator unroll_disable
            for (j = 0; j < COUNT; j = j + 1) drifted[j] = conductance[j];
            cache_weights;
            pass_time(params[P_TIME]);
            windows = params[P_WINDOWS];
        end
    endtask

    // Load profile and devices from <prefix>.NAME.hex.
    task load(input string prefix);
        integer fd;
        begin
            fd = $fopen({prefix, ".params.hex"}, "r");
            if (fd == 0) begin
                $display("ERROR: %m: cannot read %0s.params.hex", prefix);
                $finish;
            end else begin
                $fclose(fd);
                $readmemh({prefix, ".params.hex"}, params);
                $readmemh({prefix, ".conductance.hex"}, conductance);
                $readmemh({prefix, ".pulses_since_reset.hex"}, pulses_since_reset);
                $readmemh({prefix, ".events.hex"}, events);
                $readmemh({prefix, ".event_time.hex"}, event_time);
                update_caches;
            end
        end
    endtask

    // Write the same files, to be loaded again or compared with the model.
    task dump(input string prefix);
        begin
            params[P_WINDOWS] = windows;
            params[P_TIME] = time_s;
            $writememh({prefix, ".params.hex"}, params);
            $writememh({prefix, ".conductance.hex"}, conductance);
            $writememh({prefix, ".pulses_since_reset.hex"}, pulses_since_reset);
            $writememh({prefix, ".events.hex"}, events);
            $writememh({prefix, ".event_time.hex"}, event_time);
        end
    endtask

    // The ideal profile of models/golden/device: 0.77 uS per SET, 0.1 uS after RESET, 12 uS full scale.
    task automatic set_ideal;
        int unsigned i;
        begin
            // verilator unroll_disable
            for (i = 0; i < PARAMS; i = i + 1) params[i] = 0;
            params[P_G_MIN] = (G_MAX * 10 + 600) / 1200;
            params[P_RESET_MEAN] = (16 * G_MAX * 10 + 600) / 1200;
            // verilator unroll_disable
            for (i = 0; i <= N_MAX; i = i + 1)
                params[P_MU_TABLE + i] = (16 * G_MAX * 77 + 600) / 1200;
            // verilator unroll_disable
            for (i = 0; i < LINES; i = i + 1) params[P_GAIN + i] = 1024;
            // verilator unroll_disable
            for (i = 0; i < COUNT; i = i + 1) begin
                conductance[i] = 0;
                pulses_since_reset[i] = 0;
                events[i] = 0;
                event_time[i] = 0;
            end
            update_caches;
        end
    endtask

    // One device selected, which another transfer or this one fires.
    task automatic select_device;
        begin
            selection[selected] = ((program_row * COLS + program_col) * 2
                + int'(program_negative)) * DEVICES + int'(program_device);
            selected = selected + 1;
        end
    endtask

    // One SET or RESET event of one device.
    task automatic program_once(input int unsigned index);
        int unsigned row, col;
        int value;
        longint mean, deviation, z;
        begin
            row = index / (COLS * 2 * DEVICES);
            col = index / (2 * DEVICES) % COLS;
            value = conductance[index];
            if (program_reset) reset_pulses = reset_pulses + 1;
            else set_pulses = set_pulses + 1;
            // Pulses of a stuck device count, and do nothing else.
            if (program_reset && pulses_since_reset[index] != STUCK) begin
                z = gauss(key(3, index, events[index]));
                mean = $signed(params[P_RESET_MEAN]);
                deviation = $signed(params[P_RESET_SD]);
                value = clip((mean * 256 + deviation * z + 2048) >>> 12, 0, G_MAX);
                pulses_since_reset[index] = 0;
            end else if (pulses_since_reset[index] != STUCK) begin
                z = gauss(key(2, index, events[index]));
                mean = $signed(params[P_MU_TABLE + pulses_since_reset[index]])
                    + ((value * $signed(params[P_MU_SLOPE])) >>> 8);
                deviation = $signed(params[P_SD_TABLE + pulses_since_reset[index]])
                    + ((value * $signed(params[P_SD_SLOPE])) >>> 8);
                if (deviation < 0) deviation = 0;
                value = clip(value + ((mean * 256 + deviation * z + 2048) >>> 12),
                             params[P_G_MIN], G_MAX);
                if (pulses_since_reset[index] != N_MAX)
                    pulses_since_reset[index] = pulses_since_reset[index] + 1;
            end
            conductance[index] = value;
            drifted[index] = value;
            events[index] = events[index] + 1;
            event_time[index] = now;
            cache_weight(row, col);
            if (trace_fd != 0)
                $fwrite(trace_fd, "P %0d %0d %0d %0d %0d %0d\n", row, col,
                        index / DEVICES % 2, index % DEVICES, program_reset, value);
        end
    endtask

    // The pulse begins: every device selected has its event.
    task automatic fire;
        int unsigned j;
        begin
            for (j = 0; j < selected; j = j + 1) program_once(selection[j]);
            selected = 0;
        end
    endtask

    // Empty integrators and the noise of a new window.
    task automatic start_window;
        int unsigned j;
        begin
            // verilator unroll_disable
            for (j = 0; j < LINES; j = j + 1) begin
                current[j] = 0;
                drift[j] = 0;
                counted[j] = 0;
                charge[j] = 0;
                noise[j] = 0;
                if (j < (backward ? ROWS : COLS)) begin
                    if (reference) current[j] = REFERENCE;
                    drift[j] = offset[j];
                    noise[j] = gauss(key(1, j, windows));
                end
            end
            positive_before = 0;
            negative_before = 0;
            cycle = 0;
            driven = 0;
            squares = 0;
            // Icarus 11 cannot be trusted with $countones of an expression.
            enabled = 0;
            for (j = 0; j < DEVICES; j = j + 1)
                if (devices[j]) enabled = enabled + int'(polarities[0]) + int'(polarities[1]);
            windows = windows + 1;
        end
    endtask

    // Read noise grows with the L2 norm of the pulse widths so far: in cycle t each line that is
    // on adds t**2 - (t - 1)**2 to the square.
    task automatic grow_noise;
        longint norm, device, converter;
        begin
            cycle = cycle + 1;
            if (driven != 0 || cycle == 1) begin
                squares = squares + longint'(driven * (2 * cycle - 1));
                norm = isqrt((squares * longint'(enabled)) << (7 - LOG2_DEVICES));
                device = ((g_noise * norm) << 8) >>> lsb_log2;
                if (device > 64'h7fffffff) device = 64'h7fffffff;
                converter = longint'(params[P_ADC_NOISE]) << 4;
                noise_scale = isqrt(device * device + converter * converter);
            end
        end
    endtask

    // Add `sign` times the weights of driven line `line` to the currents of the sensed lines.
    task automatic add_line(input int unsigned line, input int sign);
        int unsigned j;
        begin
            if (polarities == 2'b11 && &devices) begin
                if (backward) begin
                    // verilator unroll_disable
                    for (j = 0; j < ROWS; j = j + 1)
                        current[j] = current[j] + sign * weight_backward[line][j];
                end else begin
                    // verilator unroll_disable
                    for (j = 0; j < COLS; j = j + 1)
                        current[j] = current[j] + sign * weight_forward[line][j];
                end
            end else if (backward) begin
                // verilator unroll_disable
                for (j = 0; j < ROWS; j = j + 1)
                    current[j] = current[j] + sign * weight(j, line, polarities, devices);
            end else begin
                // verilator unroll_disable
                for (j = 0; j < COLS; j = j + 1)
                    current[j] = current[j] + sign * weight(line, j, polarities, devices);
            end
        end
    endtask

    task automatic add_edges;
        int unsigned word, line;
        reg [WORD-1:0] p, q;
        begin
            // verilator unroll_disable
            for (word = 0; word < WORDS; word = word + 1) begin
                p = pwm_positive[word*WORD +: WORD] ^ positive_before[word*WORD +: WORD];
                q = pwm_negative[word*WORD +: WORD] ^ negative_before[word*WORD +: WORD];
                line = word * WORD;
                if (line >= (backward ? COLS : ROWS)) begin
                    p = 0;
                    q = 0;
                end
                while ((p | q) != 0) begin
                    if (p[0]) begin
                        add_line(line, pwm_positive[line] ? 1 : -1);
                        driven = driven + (pwm_positive[line] ? 1 : -1);
                    end
                    if (q[0]) begin
                        add_line(line, pwm_negative[line] ? -1 : 1);
                        driven = driven + (pwm_negative[line] ? 1 : -1);
                    end
                    p = p >> 1;
                    q = q >> 1;
                    line = line + 1;
                end
            end
            positive_before = pwm_positive;
            negative_before = pwm_negative;
        end
    endtask

    task automatic integrate;
        int unsigned j;
        int count, step, shift;
        int steps [0:LINES-1];
        reg [LINES*INCREMENT_BITS-1:0] result;
        begin
            shift = int'(lsb_log2) + 10;
            // verilator unroll_disable
            for (j = 0; j < LINES; j = j + 1) begin
                charge[j] = charge[j] + longint'(current[j]) * longint'(gain[j])
                    + longint'(drift[j]);
                count = (charge[j] + (((noise_scale * longint'(noise[j])) << lsb_log2) >>> 10))
                    >>> shift;
                step = count - counted[j];
                steps[j] = step > INCREMENT_MAX ? INCREMENT_MAX
                    : step < -INCREMENT_MAX ? -INCREMENT_MAX : step;
                counted[j] = count;
            end
            // verilator unroll_full
            for (j = 0; j < LINES; j = j + 1)
                result[j*INCREMENT_BITS +: INCREMENT_BITS] = steps[j];
            increments <= result;
        end
    endtask

    string prefix;
    initial begin
        increments = 0;
        program_ready = 1;
        set_pulses = 0;
        reset_pulses = 0;
        errors = 0;
        busy = 0;
        selected = 0;
        set_ideal;
        if ($value$plusargs("phasecore_macro=%s", prefix)) load(prefix);
    end

    // Apart from what follows, whose code the simulator has to keep small, and before it.
    always @(negedge clk)
        if (time_s !== now && (first || !active)) pass_time(time_s);

    // Gated: simulators then evaluate what depends on `increments` in windows alone.
    reg in_window = 0;
    always @(negedge clk) in_window <= active;
    wire window_clk = clk & in_window;

    always @(posedge window_clk) begin
        if (first) start_window;
        add_edges;
        grow_noise;
        integrate;
    end

    always @(posedge clk) begin
        if (rst) selected = 0;
        else if (program_valid && program_ready) begin
            select_device;
            if (program_fire) fire;
        end
        if (active && (first && !program_ready || program_valid && program_ready)) begin
            errors = errors + 1;
            $display("ERROR: %m: programming in an integration window at %0t", $time);
        end
        if (busy != 0) begin
            busy = busy - 1;
            if (busy == 0) program_ready <= 1;
        end
        if (!rst && program_valid && program_ready && program_fire) begin
            busy = program_reset ? RESET_CYCLES : SET_CYCLES;
            program_ready <= 0;
        end
    end
endmodule
