// SPDX-License-Identifier: Apache-2.0
// Load DMA: moves words from DRAM into the activation, alpha and parameter memories.
//
// Order: DRAM is read in sequence from base + offset on; activation words fill a view
// block by block, row by row (unzip_act_mem states the mapping). A parameter channel takes 64 bits in DRAM,
// of which its memory keeps the lowest PARAM_W.
// Interface: a job stream (one LOAD instruction), burst requests that are only made when the buffer
// has space for the answer, and a write port to each memory. done_o pulses when a job's last word
// is written. Bursts are aligned to their own length, so that none crosses a 4 KB border.
// Throughput: a beat or a word a cycle, whichever is less; the reads of up to four jobs overlap.
`include "unzip_assert.svh"
`include "unzip_limits.svh"

module unzip_load #(
    parameter int T_P = 8,
    parameter int G = 1,
    parameter int Q = 4,
    parameter int DW = 8,
    localparam int ACC_W = DW == 8 ? 32 : 48,
    parameter int ACT_BANKS = 2,
    parameter int ACT_DEPTH = 512,
    parameter int ALPHA_DEPTH = 256,
    parameter int PARAM_DEPTH = 64,
    parameter int AXI_DATA_W = 64,
    parameter int AXI_ADDR_W = 40,
    parameter int BURST_LEN = 16,  // beats, a power of two; a burst is at most 4 KB
    parameter int OUTSTANDING = 4,  // bursts that the buffer has space for, a power of two
    localparam int BEATS_W = 9,
    localparam int BANK_W = $clog2(ACT_BANKS),
    localparam int ADDR_W = $clog2(ACT_DEPTH),
    localparam int PARAM_W = ACC_W + 16
) (
    input logic clk_i,
    input logic rst_ni,

    input  logic                job_valid_i,
    output logic                job_ready_o,
    input  logic [         1:0] job_memory_i,
    input  logic [AXI_ADDR_W:0] job_addr_i,       // first DRAM byte, a multiple of 64
    input  logic [        31:0] job_offset_i,     // of the instruction
    input  logic [        23:0] job_words_i,      // at least 1
    input  logic [        15:0] job_dst_base_i,
    input  logic [        11:0] job_dst_row_i,
    input  logic [        15:0] job_dst_block_i,
    input  logic [         1:0] job_dst_shift_i,
    input  logic [  BANK_W-1:0] job_dst_bank_i,
    input  logic [        11:0] job_width_i,
    input  logic [        11:0] job_rows_i,
    output logic                done_o,
    output logic                busy_o,

    output logic                  request_valid_o,
    input  logic                  request_ready_i,
    output logic [  AXI_ADDR_W:0] request_addr_o,
    output logic [   BEATS_W-1:0] request_beats_o,
    input  logic                  beat_valid_i,
    input  logic [AXI_DATA_W-1:0] beat_data_i,
    output logic [          31:0] beat_offset_o,    // of the instruction that the beat is for

    output logic              act_valid_o,
    input  logic              act_ready_i,
    output logic [BANK_W-1:0] act_bank_o,
    output logic [ADDR_W-1:0] act_addr_o,
    output logic [T_P*DW-1:0] act_data_o,

    output logic                           alpha_we_o,
    output logic [$clog2(ALPHA_DEPTH)-1:0] alpha_addr_o,
    output logic [           G*T_P*DW-1:0] alpha_data_o,

    output logic                           param_we_o,
    output logic [$clog2(PARAM_DEPTH)-1:0] param_addr_o,
    output logic [          Q*PARAM_W-1:0] param_data_o
);

  `UNZIP_LIMIT_T_P
  `UNZIP_LIMIT_G
  `UNZIP_LIMIT_Q_T_P
  `UNZIP_LIMIT_DW
  `UNZIP_LIMIT_ACT_BANKS
  `UNZIP_LIMIT_ACT_DEPTH
  `UNZIP_LIMIT_ALPHA_DEPTH
  `UNZIP_LIMIT_PARAM_DEPTH
  `UNZIP_LIMIT_AXI_DATA_W
  `UNZIP_LIMIT_AXI_ADDR_W
  `UNZIP_LIMIT_BURST_LEN
  `UNZIP_LIMIT_OUTSTANDING

  localparam int ByteW = $clog2(AXI_DATA_W / 8);
  localparam int ActW = T_P * DW;
  localparam int AlphaW = G * T_P * DW;
  localparam int ParamW = Q * 64;
  localparam int BufferDepth = BURST_LEN * OUTSTANDING;
  localparam int CountW = $clog2(BufferDepth) + 1;
  localparam int BurstW = $clog2(BURST_LEN);

  // ---- Requests ------------------------------------------------------------------------------------
  localparam int JobW = 2 + 24 + 16 + 12 + 16 + 2 + BANK_W + 12 + 12;
  logic ask_q, plan_q, request_q, burst_last_q;
  logic [AXI_ADDR_W:0] addr_q;
  logic [31:0] beats_left_q;
  logic [CountW-1:0] reserved_q;
  logic job_space, job_take, request_take, buffer_pop;
  logic [31:0] job_bytes, job_beats;
  logic [BEATS_W-1:0] to_border, burst, burst_q;

  assign job_ready_o = !ask_q && job_space;
  assign job_take = job_valid_i && job_ready_o;
  assign job_bytes = 32'(job_words_i) << (job_memory_i == 2'(unzip_isa_pkg::MEMORY_ACT) ? $clog2(
      ActW / 8
  ) : job_memory_i == 2'(unzip_isa_pkg::MEMORY_ALPHA) ? $clog2(
      AlphaW / 8
  ) : $clog2(
      ParamW / 8
  ));
  assign job_beats = (job_bytes + 32'(AXI_DATA_W / 8 - 1)) >> ByteW;
  assign to_border = BEATS_W'(BURST_LEN) - BEATS_W'(addr_q[ByteW+:(BurstW > 0 ? BurstW : 1)] &
                                                    (BurstW > 0 ? '1 : '0));
  assign burst = beats_left_q < 32'(to_border) ? beats_left_q[BEATS_W-1:0] : to_border;

  assign request_valid_o = request_q;
  assign request_addr_o = addr_q;
  assign request_beats_o = burst_q;
  assign request_take = request_valid_o && request_ready_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      ask_q <= 1'b0;
      plan_q <= 1'b0;
      request_q <= 1'b0;
      reserved_q <= '0;
    end else begin
      if (job_take) begin
        ask_q <= 1'b1;
      end else if (request_take && burst_last_q) begin
        ask_q <= 1'b0;
      end
      // A burst is planned in one cycle and asked for when the buffer has space for it.
      plan_q <= ask_q && !request_take;
      request_q <= !request_take &&
          (request_q || (plan_q && 32'(reserved_q) + 32'(burst_q) <= BufferDepth));
      reserved_q <= reserved_q + (request_take ? CountW'(burst_q) : '0) - CountW'(buffer_pop);
    end
    if (job_take) begin
      addr_q <= job_addr_i;
      beats_left_q <= job_beats;
    end else if (request_take) begin
      addr_q <= addr_q + ((AXI_ADDR_W + 1)'(burst_q) << ByteW);
      beats_left_q <= beats_left_q - 32'(burst_q);
    end
    burst_q <= burst;
    burst_last_q <= beats_left_q <= 32'(to_border);
  end

  // ---- Answers: the job that a beat belongs to, for the error report -------------------------------
  // Whether a beat is the last one of its job is kept in a register, found out with the beat before.
  logic [31:0] answer_before, job_before, answered_q;
  logic answer_one, job_one, answer_last, answer_last_q, answer_first_q;
  assign job_one = job_beats == 32'd1;
  assign job_before = job_beats - 32'd2;

  unzip_fifo #(
      .WIDTH(65),
      .DEPTH(4)    // like u_jobs, which holds a job for longer
  ) u_answers (
      .clk_i,
      .rst_ni,
      .in_valid_i(job_take),
      .in_ready_o(),
      .in_data_i({job_offset_i, job_before, job_one}),
      .out_valid_o(),
      .out_ready_i(beat_valid_i && answer_last),
      .out_data_o({beat_offset_o, answer_before, answer_one}),
      .count_o()
  );
  assign answer_last = answer_first_q ? answer_one : answer_last_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      answered_q <= '0;
      answer_first_q <= 1'b1;
    end else if (beat_valid_i) begin
      answered_q <= answer_last ? '0 : answered_q + 1'b1;
      answer_first_q <= answer_last;
    end
    if (beat_valid_i) answer_last_q <= answered_q == answer_before;
  end

  // ---- Buffer --------------------------------------------------------------------------------------
  logic buffer_valid, buffer_ready;
  logic [AXI_DATA_W-1:0] buffer_data;

  unzip_fifo #(
      .WIDTH(AXI_DATA_W),
      .DEPTH(BufferDepth)
  ) u_buffer (
      .clk_i,
      .rst_ni,
      .in_valid_i(beat_valid_i),
      .in_ready_o(),
      .in_data_i(beat_data_i),
      .out_valid_o(buffer_valid),
      .out_ready_i(buffer_ready),
      .out_data_o(buffer_data),
      .count_o()
  );
  assign buffer_pop = buffer_valid && buffer_ready;

  // ---- Writes --------------------------------------------------------------------------------------
  logic wr_job_valid, wr_job_next, wr_pop_q;  // pop: a cycle after next
  logic [JobW-1:0] wr_job;
  logic [1:0] wr_memory, wr_shift;
  logic [23:0] wr_words;
  logic [15:0] wr_base, wr_block;
  logic [11:0] wr_row, wr_width, wr_rows;
  logic [BANK_W-1:0] wr_bank;

  unzip_fifo #(
      .WIDTH(JobW),
      .DEPTH(4)
  ) u_jobs (
      .clk_i,
      .rst_ni,
      .in_valid_i(job_take),
      .in_ready_o(job_space),
      .in_data_i({
        job_memory_i,
        job_words_i,
        job_dst_base_i,
        job_dst_row_i,
        job_dst_block_i,
        job_dst_shift_i,
        job_dst_bank_i,
        job_width_i,
        job_rows_i
      }),
      .out_valid_o(wr_job_valid),
      .out_ready_i(wr_pop_q),
      .out_data_o(wr_job),
      .count_o()
  );
  assign {wr_memory, wr_words, wr_base, wr_row, wr_block, wr_shift, wr_bank, wr_width,
          wr_rows} = wr_job;

  logic [2:0] to_valid, to_ready, gear_valid, gear_ready;
  logic [ParamW-1:0] param_word;
  logic wr_run_q, wr_start, wr_word, wr_last_q;
  logic [ActW-1:0] act_word_data;

  for (genvar m = 0; m < 3; m++) begin : g_to
    // What follows the job's last word belongs to the next job.
    assign to_valid[m] = buffer_valid && wr_run_q && wr_memory == 2'(m) && !wr_job_next;
  end
  assign buffer_ready = wr_run_q && |(to_ready & to_valid);

  // A beat may hold words beyond the job's last one: they are dropped.
  unzip_gearbox #(
      .IN_W (AXI_DATA_W),
      .OUT_W(ActW)
  ) u_to_act (
      .clk_i,
      .rst_ni,
      .in_valid_i(to_valid[unzip_isa_pkg::MEMORY_ACT]),
      .in_ready_o(to_ready[unzip_isa_pkg::MEMORY_ACT]),
      .in_data_i(buffer_data),
      .flush_i(1'b0),
      .out_valid_o(gear_valid[unzip_isa_pkg::MEMORY_ACT]),
      .out_ready_i(gear_ready[unzip_isa_pkg::MEMORY_ACT]),
      .out_data_o(act_word_data),
      .out_keep_o(),
      .out_last_o(),
      .drop_i(wr_last_q)
  );

  unzip_gearbox #(
      .IN_W (AXI_DATA_W),
      .OUT_W(AlphaW)
  ) u_to_alpha (
      .clk_i,
      .rst_ni,
      .in_valid_i(to_valid[unzip_isa_pkg::MEMORY_ALPHA]),
      .in_ready_o(to_ready[unzip_isa_pkg::MEMORY_ALPHA]),
      .in_data_i(buffer_data),
      .flush_i(1'b0),
      .out_valid_o(gear_valid[unzip_isa_pkg::MEMORY_ALPHA]),
      .out_ready_i(gear_ready[unzip_isa_pkg::MEMORY_ALPHA]),
      .out_data_o(alpha_data_o),
      .out_keep_o(),
      .out_last_o(),
      .drop_i(wr_last_q)
  );

  unzip_gearbox #(
      .IN_W (AXI_DATA_W),
      .OUT_W(ParamW)
  ) u_to_param (
      .clk_i,
      .rst_ni,
      .in_valid_i(to_valid[unzip_isa_pkg::MEMORY_PARAM]),
      .in_ready_o(to_ready[unzip_isa_pkg::MEMORY_PARAM]),
      .in_data_i(buffer_data),
      .flush_i(1'b0),
      .out_valid_o(gear_valid[unzip_isa_pkg::MEMORY_PARAM]),
      .out_ready_i(gear_ready[unzip_isa_pkg::MEMORY_PARAM]),
      .out_data_o(param_word),
      .out_keep_o(),
      .out_last_o(),
      .drop_i(wr_last_q)
  );

  logic [23:0] words_left_q;
  logic [15:0] word_q;  // alpha and param: address
  logic [15:0] act_addr;
  logic walk_valid, act_word, act_space, act_end;
  logic [BANK_W-1:0] act_bank;
  logic [1:0] act_count;

  assign gear_ready = {wr_run_q, wr_run_q, wr_run_q && walk_valid && act_space};
  assign wr_word = |(gear_valid & gear_ready);
  assign wr_start = wr_job_valid && !wr_run_q && !wr_pop_q && !act_valid_o;
  assign wr_job_next = wr_word && wr_last_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      wr_run_q <= 1'b0;
      wr_pop_q <= 1'b0;
      done_o   <= 1'b0;
    end else begin
      if (wr_start) begin
        wr_run_q <= 1'b1;
      end else if (wr_job_next) begin
        wr_run_q <= 1'b0;
      end
      wr_pop_q <= wr_job_next;
      done_o   <= act_end || (wr_job_next && wr_memory != 2'(unzip_isa_pkg::MEMORY_ACT));
    end
    if (wr_start) begin
      words_left_q <= wr_words;
      wr_last_q <= wr_words == 24'd1;
      word_q <= wr_base;
    end else if (wr_word) begin
      words_left_q <= words_left_q - 1'b1;
      wr_last_q <= words_left_q == 24'd2;
      word_q <= word_q + 1'b1;
    end
  end

  unzip_act_walk #(
      .ACT_BANKS(ACT_BANKS)
  ) u_walk (
      .clk_i,
      .start_i(wr_start),
      .next_i (act_word && act_space),
      .base_i (wr_base),
      .row_i  (wr_row),
      .block_i(wr_block),
      .shift_i(wr_shift),
      .bank_i (wr_bank),
      .width_i(wr_width),
      .rows_i (wr_rows),
      .valid_o(walk_valid),
      .bank_o (act_bank),
      .entry_o(act_addr)
  );

  // Between the memory's ready and the buffer's.
  assign act_word = gear_valid[unzip_isa_pkg::MEMORY_ACT] && wr_run_q && walk_valid;
  unzip_fifo #(
      .WIDTH(BANK_W + ADDR_W + ActW),
      .DEPTH(2)
  ) u_act_words (
      .clk_i,
      .rst_ni,
      .in_valid_i(act_word),
      .in_ready_o(act_space),
      .in_data_i({act_bank, act_addr[ADDR_W-1:0], act_word_data}),
      .out_valid_o(act_valid_o),
      .out_ready_i(act_ready_i),
      .out_data_o({act_bank_o, act_addr_o, act_data_o}),
      .count_o(act_count)
  );
  assign act_end = act_valid_o && act_ready_i && act_count == 2'd1 && !wr_run_q;

  assign alpha_we_o = gear_valid[unzip_isa_pkg::MEMORY_ALPHA] && wr_run_q;
  assign alpha_addr_o = word_q[$clog2(ALPHA_DEPTH)-1:0];
  assign param_we_o = gear_valid[unzip_isa_pkg::MEMORY_PARAM] && wr_run_q;
  assign param_addr_o = word_q[$clog2(PARAM_DEPTH)-1:0];

  logic unused;
  for (genvar l = 0; l < Q; l++) begin : g_param
    assign param_data_o[l*PARAM_W+:PARAM_W] = param_word[l*64+:PARAM_W];
  end
  assign unused = ^param_word;

  assign busy_o = ask_q || wr_job_valid || act_valid_o || done_o;

  `UNZIP_ASSERT(SpaceReserved, !beat_valid_i || reserved_q != '0, clk_i, rst_ni)
  `UNZIP_ASSERT(ActInside, !act_word || int'(act_addr) < ACT_DEPTH, clk_i, rst_ni)

endmodule
