// SPDX-License-Identifier: Apache-2.0
// Load DMA: moves words from DRAM into the activation, alpha and parameter memories.
//
// Order: DRAM is read run by run, each from a multiple of 64 on; what a beat holds behind a run's last word is
// dropped. Independently of the runs, activation words fill a view block by block, row by row
// (unzip_act_mem states the mapping). A parameter channel takes 64 bits in DRAM, of which its memory keeps
// the lowest PARAM_W.
// Interface: a job stream (one LOAD instruction), burst requests that are only made when the buffer
// has space for the answer, and a write port to each memory. done_o pulses when a job's last word
// is written.
// Throughput: a beat or a word a cycle, whichever is less, across runs and jobs; a job for the activation memory
// takes two cycles more. The reads of up to JOBS jobs overlap.
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
    parameter int JOBS = 16,  // jobs under way, a power of two
    localparam int BEATS_W = 9,
    localparam int BANK_W = $clog2(ACT_BANKS),
    localparam int ADDR_W = $clog2(ACT_DEPTH),
    localparam int PARAM_W = ACC_W + 16
) (
    input logic clk_i,
    input logic rst_ni,

    input logic job_valid_i,
    output logic job_ready_o,
    input logic [1:0] job_memory_i,
    input logic [AXI_ADDR_W:0] job_addr_i,  // first DRAM byte, a multiple of 64
    input logic [31:0] job_offset_i,  // of the instruction
    input logic [23:0] job_words_i,  // a multiple of job_run_i
    input logic [23:0] job_run_i,  // words that follow each other in DRAM, at least 1
    input logic [39:0] job_pitch_i,  // DRAM bytes from run to run, a multiple of 64
    input logic [15:0] job_dst_base_i,
    input logic [11:0] job_dst_row_i,
    input logic [15:0] job_dst_block_i,
    input logic [1:0] job_dst_shift_i,
    input logic [BANK_W-1:0] job_dst_bank_i,
    input logic [11:0] job_width_i,
    input logic [11:0] job_rows_i,
    output logic done_o,
    output logic busy_o,

    output logic                  request_valid_o,
    input  logic                  request_ready_i,
    output logic [  AXI_ADDR_W:0] request_addr_o,
    output logic [   BEATS_W-1:0] request_beats_o,
    output logic [          31:0] request_offset_o,  // of the instruction
    input  logic                  beat_valid_i,
    input  logic                  beat_last_i,       // of its burst
    input  logic [AXI_DATA_W-1:0] beat_data_i,
    output logic [          31:0] beat_offset_o,     // of the instruction that the beat is for

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
  `UNZIP_LIMIT_POWER(JOBS, "JOBS")

  localparam int ActW = T_P * DW;
  localparam int AlphaW = G * T_P * DW;
  localparam int ParamW = Q * 64;
  localparam int BufferDepth = BURST_LEN * OUTSTANDING;
  localparam int CountW = $clog2(BufferDepth) + 1;
  localparam int Bursts = BufferDepth < 128 ? BufferDepth : 128;  // asked for, not all there
  localparam int JobW = 2 + 24 + 24 + 16 + 12 + 16 + 2 + BANK_W + 12 + 12;

  // ---- Requests ------------------------------------------------------------------------------------
  logic
      job_take,
      jobs_space,
      offsets_space,
      cutter_ready,
      cutter_busy,
      burst_valid,
      burst_last,
      bursts_space;
  logic request_take, buffer_pop, fits_q;
  logic [31:0] job_bytes;
  logic [CountW-1:0] space_q;  // beats of the buffer that nobody has asked for

  assign job_ready_o = cutter_ready && jobs_space && offsets_space;
  assign job_take = job_valid_i && job_ready_o;
  assign job_bytes = 32'(job_run_i) << (job_memory_i == 2'(unzip_isa_pkg::MEMORY_ACT) ? $clog2(
      ActW / 8
  ) : job_memory_i == 2'(unzip_isa_pkg::MEMORY_ALPHA) ? $clog2(
      AlphaW / 8
  ) : $clog2(
      ParamW / 8
  ));

  unzip_bursts #(
      .AXI_DATA_W(AXI_DATA_W),
      .AXI_ADDR_W(AXI_ADDR_W),
      .BURST_LEN (BURST_LEN)
  ) u_bursts (
      .clk_i,
      .rst_ni,
      .job_valid_i(job_take),
      .job_ready_o(cutter_ready),
      .job_addr_i,
      .job_bytes_i(job_bytes),
      .job_words_i,
      .job_run_i,
      .job_pitch_i,
      .job_offset_i,
      .busy_o(cutter_busy),
      .burst_valid_o(burst_valid),
      .burst_ready_i(request_take),
      .burst_addr_o(request_addr_o),
      .burst_beats_o(request_beats_o),
      .burst_last_o(burst_last),
      .burst_offset_o(request_offset_o)
  );

  // What has space keeps it until it is asked for.
  always_ff @(posedge clk_i) begin
    fits_q <= rst_ni && burst_valid && !request_take && bursts_space &&
        32'(space_q) >= 32'(request_beats_o);
  end
  assign request_valid_o = fits_q;
  assign request_take = request_valid_o && request_ready_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      space_q <= CountW'(BufferDepth);
    end else begin
      space_q <= space_q - (request_take ? CountW'(request_beats_o) : '0) + CountW'(buffer_pop);
    end
  end

  // ---- Answers: the job that a beat belongs to, for the error report -------------------------------
  logic answer_last, answer_pop;  // the burst is its job's last one
  assign answer_pop = beat_valid_i && beat_last_i;

  unzip_fifo #(
      .WIDTH(1),
      .DEPTH(Bursts)
  ) u_answers (
      .clk_i,
      .rst_ni,
      .in_valid_i(request_take),
      .in_ready_o(bursts_space),
      .in_data_i(burst_last),
      .out_valid_o(),
      .out_ready_i(answer_pop),
      .out_data_o(answer_last),
      .count_o()
  );

  unzip_fifo #(
      .WIDTH(32),
      .DEPTH(JOBS)
  ) u_offsets (
      .clk_i,
      .rst_ni,
      .in_valid_i(job_take),
      .in_ready_o(offsets_space),
      .in_data_i(job_offset_i),
      .out_valid_o(),
      .out_ready_i(answer_pop && answer_last),
      .out_data_o(beat_offset_o),
      .count_o()
  );

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
  logic next_valid, wr_start;
  logic [1:0] next_memory, next_shift;
  logic [23:0] next_words, next_run;
  logic [15:0] next_base, next_block;
  logic [11:0] next_row, next_width, next_rows;
  logic [BANK_W-1:0] next_bank;

  unzip_fifo #(
      .WIDTH(JobW),
      .DEPTH(JOBS)
  ) u_jobs (
      .clk_i,
      .rst_ni,
      .in_valid_i(job_take),
      .in_ready_o(jobs_space),
      .in_data_i({
        job_memory_i,
        job_words_i,
        job_run_i,
        job_dst_base_i,
        job_dst_row_i,
        job_dst_block_i,
        job_dst_shift_i,
        job_dst_bank_i,
        job_width_i,
        job_rows_i
      }),
      .out_valid_o(next_valid),
      .out_ready_i(wr_start),
      .out_data_o({
        next_memory,
        next_words,
        next_run,
        next_base,
        next_row,
        next_block,
        next_shift,
        next_bank,
        next_width,
        next_rows
      }),
      .count_o()
  );

  logic [2:0] to_valid, to_ready, gear_valid, gear_ready, gear_taken;
  logic [2:0] next_selected, selected_q;  // the job's memory, one bit
  logic [ParamW-1:0] param_word;
  logic wr_run_q, wr_word, wr_last_q, run_last_q, run_one_q, wr_job_end, wr_hold;
  logic [ActW-1:0] act_word_data;
  logic beyond;  // the next beat is not for this job

  // When the job's last word stands in its converter, what follows belongs to the next job.
  assign beyond = wr_last_q && |(gear_valid & selected_q);
  for (genvar m = 0; m < 3; m++) begin : g_to
    assign next_selected[m] = next_memory == 2'(m);
    assign to_valid[m] = buffer_valid && wr_run_q &&
        (beyond ? next_valid && next_selected[m] : selected_q[m]);
  end
  assign buffer_ready = |(to_ready & to_valid);

  // A beat may hold words beyond the run's last one: they are dropped.
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
      .drop_i(run_last_q)
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
      .drop_i(run_last_q)
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
      .drop_i(run_last_q)
  );

  logic [23:0] words_left_q, run_left_q, run_q;
  logic [15:0] word_q;  // alpha and param: address
  logic [15:0] act_addr;
  logic walk_valid, act_word, act_space, act_pop_last;
  logic [BANK_W-1:0] act_bank;
  logic [1:0] act_count;

  // Words are written in order: those of another memory wait for those on their way to act mem.
  assign wr_hold = act_count != '0;
  assign gear_ready = selected_q & {{2{wr_run_q && !wr_hold}}, wr_run_q && walk_valid && act_space};
  assign gear_taken = gear_valid & gear_ready;
  assign wr_word = |gear_taken;
  assign wr_job_end = wr_word && wr_last_q;
  assign wr_start = next_valid && (!wr_run_q || wr_job_end);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      wr_run_q <= 1'b0;
      done_o   <= 1'b0;
    end else begin
      wr_run_q <= wr_start || (wr_run_q && !wr_job_end);
      done_o   <= act_pop_last || (wr_job_end && !selected_q[unzip_isa_pkg::MEMORY_ACT]);
    end
    if (wr_start) begin
      selected_q <= next_selected;
      words_left_q <= next_words;
      wr_last_q <= next_words == 24'd1;
      run_q <= next_run;
      run_left_q <= next_run;
      run_one_q <= next_run == 24'd1;
      run_last_q <= next_run == 24'd1;
      word_q <= next_base;
    end else if (wr_word) begin
      words_left_q <= words_left_q - 1'b1;
      wr_last_q <= words_left_q == 24'd2;
      run_left_q <= run_last_q ? run_q : run_left_q - 1'b1;
      run_last_q <= run_last_q ? run_one_q : run_left_q == 24'd2;
      word_q <= word_q + 1'b1;
    end
  end

  unzip_act_walk #(
      .ACT_BANKS(ACT_BANKS)
  ) u_walk (
      .clk_i,
      .start_i(wr_start),
      .next_i (act_word && act_space),
      .base_i (next_base),
      .row_i  (next_row),
      .block_i(next_block),
      .shift_i(next_shift),
      .bank_i (next_bank),
      .width_i(next_width),
      .rows_i (next_rows),
      .valid_o(walk_valid),
      .bank_o (act_bank),
      .entry_o(act_addr)
  );

  // Between the memory's ready and the buffer's. A job's last word is marked.
  logic act_last;
  assign act_word = wr_run_q && walk_valid &&
      gear_valid[unzip_isa_pkg::MEMORY_ACT] && selected_q[unzip_isa_pkg::MEMORY_ACT];
  unzip_fifo #(
      .WIDTH(1 + BANK_W + ADDR_W + ActW),
      .DEPTH(2)
  ) u_act_words (
      .clk_i,
      .rst_ni,
      .in_valid_i(act_word),
      .in_ready_o(act_space),
      .in_data_i({wr_last_q, act_bank, act_addr[ADDR_W-1:0], act_word_data}),
      .out_valid_o(act_valid_o),
      .out_ready_i(act_ready_i),
      .out_data_o({act_last, act_bank_o, act_addr_o, act_data_o}),
      .count_o(act_count)
  );
  assign act_pop_last = act_valid_o && act_ready_i && act_last;

  assign alpha_we_o   = gear_taken[unzip_isa_pkg::MEMORY_ALPHA];
  assign alpha_addr_o = word_q[$clog2(ALPHA_DEPTH)-1:0];
  assign param_we_o   = gear_taken[unzip_isa_pkg::MEMORY_PARAM];
  assign param_addr_o = word_q[$clog2(PARAM_DEPTH)-1:0];

  logic unused;
  for (genvar l = 0; l < Q; l++) begin : g_param
    assign param_data_o[l*PARAM_W+:PARAM_W] = param_word[l*64+:PARAM_W];
  end
  assign unused = ^param_word;

  assign busy_o = cutter_busy || next_valid || wr_run_q || act_valid_o || done_o;

  `UNZIP_ASSERT(SpaceReserved, !beat_valid_i || space_q != CountW'(BufferDepth), clk_i, rst_ni)
  `UNZIP_ASSERT(ActInside, !act_word || int'(act_addr) < ACT_DEPTH, clk_i, rst_ni)

endmodule
