// SPDX-License-Identifier: Apache-2.0
// Store DMA: moves words of the activation memory to DRAM.
//
// Order: the words of a view, block by block, row by row (unzip_act_mem states the mapping), to DRAM run by
// run, independently of the view; each run begins at a multiple of 64. Bytes past a run's last word are not
// written.
// Interface: a job stream (one STORE instruction), the store read port of the activation memory, and
// jobs and beats for the AXI write channel. done_o pulses when DRAM has answered the job's last write.
// Throughput: a word or a beat a cycle, whichever is less, across runs; four cycles more for a job.
`include "unzip_assert.svh"
`include "unzip_limits.svh"

module unzip_store #(
    parameter int T_P = 8,
    parameter int DW = 8,
    parameter int ACT_BANKS = 2,
    parameter int ACT_DEPTH = 512,
    parameter int AXI_DATA_W = 64,
    parameter int AXI_ADDR_W = 40,
    localparam int BANK_W = $clog2(ACT_BANKS),
    localparam int ADDR_W = $clog2(ACT_DEPTH)
) (
    input logic clk_i,
    input logic rst_ni,

    input logic job_valid_i,
    output logic job_ready_o,
    input logic [AXI_ADDR_W:0] job_addr_i,  // first DRAM byte, a multiple of 64
    input logic [31:0] job_offset_i,  // of the instruction
    input logic [23:0] job_words_i,  // a multiple of job_run_i
    input logic [23:0] job_run_i,  // words that follow each other in DRAM, at least 1
    input logic [39:0] job_pitch_i,  // DRAM bytes from run to run, a multiple of 64
    input logic [15:0] job_src_base_i,
    input logic [11:0] job_src_row_i,
    input logic [15:0] job_src_block_i,
    input logic [1:0] job_src_shift_i,
    input logic [BANK_W-1:0] job_src_bank_i,
    input logic [11:0] job_width_i,
    input logic [11:0] job_rows_i,
    output logic done_o,
    output logic busy_o,

    output logic              read_valid_o,
    input  logic              read_ready_i,
    output logic [BANK_W-1:0] read_bank_o,
    output logic [ADDR_W-1:0] read_addr_o,
    input  logic [T_P*DW-1:0] read_data_i,

    output logic                    write_job_valid_o,
    input  logic                    write_job_ready_i,
    output logic [    AXI_ADDR_W:0] write_job_addr_o,
    output logic [            31:0] write_job_bytes_o,   // of a run
    output logic [            23:0] write_job_words_o,
    output logic [            23:0] write_job_run_o,
    output logic [            39:0] write_job_pitch_o,
    output logic [            31:0] write_job_offset_o,
    input  logic                    write_done_i,
    output logic                    beat_valid_o,
    input  logic                    beat_ready_i,
    output logic [  AXI_DATA_W-1:0] beat_data_o,
    output logic [AXI_DATA_W/8-1:0] beat_strobe_o
);

  `UNZIP_LIMIT_T_P
  `UNZIP_LIMIT_DW
  `UNZIP_LIMIT_ACT_BANKS
  `UNZIP_LIMIT_ACT_DEPTH
  `UNZIP_LIMIT_AXI_DATA_W
  `UNZIP_LIMIT_AXI_ADDR_W

  localparam int WordW = T_P * DW;
  localparam int KeepW = AXI_DATA_W > WordW ? AXI_DATA_W / WordW : 1;

  // ---- Job -----------------------------------------------------------------------------------------
  logic read_q, step_last_q, run_last_q, run_one_q;
  logic [23:0] words_left_q, run_left_q, run_q;
  logic job_take, step, walk_space, read_there, read_take, read_last;
  logic [15:0] act_addr;
  logic [BANK_W-1:0] act_bank;
  logic walk_valid;

  // The next job's reads follow when this one's words are read; the answers come later, in order.
  assign job_ready_o = !read_q && write_job_ready_i;
  assign job_take = job_valid_i && job_ready_o;
  assign write_job_valid_o = job_valid_i && !read_q;
  assign write_job_addr_o = job_addr_i;
  assign write_job_bytes_o = 32'(job_run_i) << $clog2(WordW / 8);
  assign write_job_words_o = job_words_i;
  assign write_job_run_o = job_run_i;
  assign write_job_pitch_o = job_pitch_i;
  assign write_job_offset_o = job_offset_i;
  assign done_o = write_done_i;
  assign busy_o = read_q;

  assign step = read_q && walk_valid && walk_space;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      read_q <= 1'b0;
    end else begin
      read_q <= job_take || (read_q && !(step && step_last_q));
    end
    if (job_take) begin
      words_left_q <= job_words_i;
      step_last_q <= job_words_i == 24'd1;
      run_q <= job_run_i;
      run_left_q <= job_run_i;
      run_one_q <= job_run_i == 24'd1;
      run_last_q <= job_run_i == 24'd1;
    end else if (step) begin
      words_left_q <= words_left_q - 1'b1;
      step_last_q  <= words_left_q == 24'd2;
      run_left_q   <= run_last_q ? run_q : run_left_q - 1'b1;
      run_last_q   <= run_last_q ? run_one_q : run_left_q == 24'd2;
    end
  end

  unzip_act_walk #(
      .ACT_BANKS(ACT_BANKS)
  ) u_walk (
      .clk_i,
      .start_i(job_take),
      .next_i (step),
      .base_i (job_src_base_i),
      .row_i  (job_src_row_i),
      .block_i(job_src_block_i),
      .shift_i(job_src_shift_i),
      .bank_i (job_src_bank_i),
      .width_i(job_width_i),
      .rows_i (job_rows_i),
      .valid_o(walk_valid),
      .bank_o (act_bank),
      .entry_o(act_addr)
  );

  // Between the memory's ready and the walk.
  unzip_fifo #(
      .WIDTH(1 + BANK_W + ADDR_W),
      .DEPTH(2)
  ) u_reads (
      .clk_i,
      .rst_ni,
      .in_valid_i(read_q && walk_valid),
      .in_ready_o(walk_space),
      .in_data_i({run_last_q, act_bank, act_addr[ADDR_W-1:0]}),
      .out_valid_o(read_there),
      .out_ready_i(read_take),
      .out_data_o({read_last, read_bank_o, read_addr_o}),
      .count_o()
  );

  // ---- Read: at most eight words are on their way to the gearbox -------------------------------------
  logic [3:1] granted_q, granted_last_q;  // so many cycles ago; the data is there after three
  logic word_valid, word_ready, word_last;
  logic [WordW-1:0] word_data;
  logic [3:0] flying_q;  // words granted and not yet taken by the gearbox

  assign read_valid_o = read_there && !flying_q[3];
  assign read_take = read_valid_o && read_ready_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      granted_q <= '0;
      flying_q  <= '0;
    end else begin
      granted_q <= {granted_q[2:1], read_take};
      flying_q  <= flying_q + 4'(read_take) - 4'(word_valid && word_ready);
    end
    granted_last_q <= {granted_last_q[2:1], read_last};
  end

  unzip_fifo #(
      .WIDTH(WordW + 1),
      .DEPTH(8)
  ) u_words (
      .clk_i,
      .rst_ni,
      .in_valid_i(granted_q[3]),
      .in_ready_o(),
      .in_data_i({granted_last_q[3], read_data_i}),
      .out_valid_o(word_valid),
      .out_ready_i(word_ready),
      .out_data_o({word_last, word_data}),
      .count_o()
  );

  // ---- Beats ---------------------------------------------------------------------------------------
  logic [KeepW-1:0] keep;

  unzip_gearbox #(
      .IN_W (WordW),
      .OUT_W(AXI_DATA_W)
  ) u_to_beats (
      .clk_i,
      .rst_ni,
      .in_valid_i(word_valid),
      .in_ready_o(word_ready),
      .in_data_i(word_data),
      .flush_i(word_last),
      .out_valid_o(beat_valid_o),
      .out_ready_i(beat_ready_i),
      .out_data_o(beat_data_o),
      .out_keep_o(keep),
      .out_last_o(),
      .drop_i(1'b0)
  );

  for (genvar k = 0; k < KeepW; k++) begin : g_strobe
    localparam int PartBytes = AXI_DATA_W / 8 / KeepW;
    assign beat_strobe_o[k*PartBytes+:PartBytes] = {PartBytes{keep[k]}};
  end

  `UNZIP_ASSERT(ActInside, !step || int'(act_addr) < ACT_DEPTH, clk_i, rst_ni)

endmodule
