// SPDX-License-Identifier: Apache-2.0
// Weights generator: regenerates weights from OVSF coefficients (alphas) by signed sums.
//
// Mathematics
//   H[j][i] = (-1)^popcount(j & i), the Sylvester-Hadamard codes. For a KxK kernel, E is the next power
//   of two >= K, and with the layer's ordered list of codes J
//     w[f][c][ky][kx] = sum_{j in J} a[f][c][j] * H[j][E*ky + kx]        (kernel axis)
// or, with blocks of 16 channels of any kernel,
//     w[f][c][ky][kx] = sum_{j in J} a[f][c/16][ky][kx][j] * H[j][c mod 16]    (channel axis)
//   A dense layer's alphas are its weights: each is passed on for one tap. The compiler proves that
//   every w fits DW bits, so the sums are taken modulo 2^DW and are exact; there is no multiplier.
//
// Order of the weight words (T_P channels of one filter and tap; G filters side by side)
//   for each chunk: for each channel block of it: for each group of G filters: for each tap of it
//   A chunk is `chunk_blocks` blocks with all their taps, or one block with `chunk_taps` of its taps.
//   word_step_o numbers the (block, tap) pairs of the chunk: the register file address.
//
// Order of the alpha words (G*T_P alphas) in the alpha memory, from alpha_addr on
//   kernel axis: for each block: for each group of G filters: n words in the order of the list J; with
//          several chunks a block, the block's words are read once for each of them
//   dense: the weight words themselves, in the order in which they are consumed
//   channel axis: for each weight word, in the order in which they are consumed, a set of ceil(n/J)*J
//          alphas (those past the n-th do not count) for each of the G filters and, with T_P = 32, for
//          each half of 16 channels. The T_P lanes of a filter (16 of a half) hold as many whole sets as
//          fit, the first one lowest. Where not even one fits (T_P = 8, n > 8) it takes two words. With
//          T_P = 8 each of the two blocks that make 16 channels has its own, equal sets.
//
// Interface: a job stream, a weight word stream, a read port to the alpha memory (data one cycle
// after alpha_re_o), a write port for the code list. A code list may be written when busy_o is 0.
// done_o pulses when the last alpha of a job has been read. word_groups_o is the job's job_groups_i.
// Throughput: G weight words every ceil(n/J) cycles, without a bubble between filters, chunks or jobs;
// a cycle in which a word waits for word_ready_i delays all that follow by one cycle, no more.
`include "unzip_assert.svh"
`include "unzip_limits.svh"

module unzip_wgen #(
    parameter int T_P = 8,  // channels of a weight word
    parameter int G = 1,  // filters generated side by side
    parameter int J = 2,  // alphas summed per cycle and lane
    parameter int DW = 8,  // bits of an alpha and of a weight
    parameter int N_MAX = 16,  // longest code list, up to 64
    parameter int CHANNEL_AXIS = 1,  // 1: channel-axis codes too; J is then a power of two up to 8
    parameter int ALPHA_DEPTH = 256  // words of the alpha memory
) (
    input logic clk_i,
    input logic rst_ni,

    // code list: 16 codes of 6 bits, written to entries 16*page and up
    input logic        code_we_i,
    input logic [ 1:0] code_page_i,
    input logic [95:0] code_list_i,

    // job: the weights of one tile
    input  logic        job_valid_i,
    output logic        job_ready_o,
    input  logic [15:0] job_alpha_addr_i,
    input  logic [ 8:0] job_filters_i,       // 1 to 256
    input  logic [ 6:0] job_codes_i,         // 1 to N_MAX
    input  logic        job_dense_i,
    input  logic        job_channel_i,       // channel-axis codes; needs CHANNEL_AXIS
    input  logic [16:0] job_alpha_words_i,   // of a dense or channel-axis job
    input  logic [ 3:0] job_kernel_h_i,      // 1 to 7
    input  logic [ 3:0] job_kernel_w_i,      // 1 to 7
    input  logic [11:0] job_blocks_i,
    input  logic [ 5:0] job_chunk_blocks_i,
    input  logic [ 5:0] job_chunk_taps_i,
    input  logic [ 2:0] job_groups_i,        // passed on with every word
    output logic        done_o,
    output logic        busy_o,

    // alpha memory
    output logic                           alpha_re_o,
    output logic [$clog2(ALPHA_DEPTH)-1:0] alpha_addr_o,
    input  logic [           G*T_P*DW-1:0] alpha_data_i,

    // weight words
    output logic                word_valid_o,
    input  logic                word_ready_i,
    output logic [G*T_P*DW-1:0] word_data_o,
    output logic [         8:0] word_filter_o,  // filter of the first of the G words
    output logic [         5:0] word_step_o,
    output logic [         2:0] word_groups_o,
    output logic                word_last_o     // last word of a chunk
);

  `UNZIP_LIMIT_T_P
  `UNZIP_LIMIT_G
  `UNZIP_LIMIT_J
  `UNZIP_LIMIT_DW
  `UNZIP_LIMIT_N_MAX
  `UNZIP_LIMIT_CHANNEL_AXIS
  `UNZIP_LIMIT_ALPHA_DEPTH

  localparam int WordW = G * T_P * DW;
  localparam int Lanes = G * T_P;
  localparam int RowsMax = (N_MAX + J - 1) / J;  // hold rows of one set
  localparam int Rows = RowsMax <= 4 ? 8 : 1 << $clog2(2 * RowsMax);
  localparam int RowAw = $clog2(Rows);
  localparam int BankW = J > 1 ? $clog2(J) : 1;

  // ---- Code list -------------------------------------------------------------------------------
  logic [64*6-1:0] code_q;

  always_ff @(posedge clk_i) begin
    for (int p = 0; p < 4; p++) begin
      if (code_we_i && code_page_i == 2'(p)) code_q[p*96+:96] <= code_list_i;
    end
  end

  // ---- Reader: alphas from the memory into the hold buffer --------------------------------------
  // A set is what is read and released together: with kernel-axis codes the n words of a group of G
  // filters and a block, in ceil(n/J) rows of J words; else one word, in a row of its own. The buffer is
  // a ring of rows.
  logic rd_busy_q, rd_linear_q;
  logic [15:0] rd_addr_q, rd_block_addr_q;
  logic [8:0] rd_filters_q, rd_filter_left_q;
  logic [6:0] rd_codes_q, rd_word_q;
  logic [5:0] rd_taps_q, rd_chunk_taps_q, rd_tap_left_q;
  logic [11:0] rd_block_left_q;
  logic [16:0] rd_left_q;
  logic [BankW-1:0] rd_bank_q;
  logic [RowAw-1:0] rd_row_q;
  logic [RowAw:0] rows_free_q;
  logic row_free_q;  // rows_free_q is not 0

  // Whether a counter stands at its last value is kept in a register of its own.
  logic rd_word_last_q, rd_group_last_q, rd_piece_last_q, rd_block_last_q, rd_left_last_q;
  logic rd_word_one_q, rd_group_one_q, rd_piece_one_q;  // the first value is the last one
  logic rd_en, rd_set_last, rd_row_new_q;  // new: the bank is 0
  logic rd_load, job_take, emit_job_ready, job_channel;
  logic [5:0] job_taps;
  logic [RowAw:0] released_rows_q;
  logic release_q;

  // kernel_h * kernel_w, at most 7x7, by additions: no multiplier block.
  assign job_taps = (job_kernel_w_i[0] ? 6'(job_kernel_h_i) : 6'd0) +
      (job_kernel_w_i[1] ? 6'(job_kernel_h_i) << 1 : 6'd0) +
      (job_kernel_w_i[2] ? 6'(job_kernel_h_i) << 2 : 6'd0);
  // The next job is taken with the last read: no cycle without a read lies between two jobs.
  assign rd_load = !rd_busy_q || done_o;
  assign job_ready_o = rd_load && emit_job_ready;
  assign job_take = job_valid_i && job_ready_o;
  assign job_channel = CHANNEL_AXIS != 0 && job_channel_i;

  assign rd_en = rd_busy_q && (!rd_row_new_q || row_free_q);
  assign rd_set_last = rd_linear_q || rd_word_last_q;

  assign alpha_re_o = rd_en;
  assign alpha_addr_o = rd_addr_q[$clog2(ALPHA_DEPTH)-1:0];
  // Dense and channel-axis alphas are laid out in the order of use: none is read twice.
  assign done_o = rd_en && (rd_linear_q ? rd_left_last_q :
      rd_word_last_q && rd_group_last_q && rd_piece_last_q && rd_block_last_q);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      rd_busy_q <= 1'b0;
      rd_row_q <= '0;
      rd_bank_q <= '0;
      rd_row_new_q <= 1'b1;
    end else begin
      if (job_take) begin
        rd_busy_q <= 1'b1;
      end else if (done_o) begin
        rd_busy_q <= 1'b0;
      end
      if (rd_en) begin
        if (rd_set_last || rd_bank_q == BankW'(J - 1)) begin
          rd_bank_q <= '0;
          rd_row_q <= rd_row_q + 1'b1;
          rd_row_new_q <= 1'b1;
        end else begin
          rd_bank_q <= rd_bank_q + 1'b1;
          rd_row_new_q <= 1'b0;
        end
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (rd_load) begin  // of use if there is a job
      rd_addr_q <= job_alpha_addr_i;
      rd_block_addr_q <= job_alpha_addr_i;
      rd_linear_q <= job_dense_i || job_channel;
      rd_left_q <= job_alpha_words_i;
      rd_filters_q <= job_filters_i;
      rd_filter_left_q <= job_filters_i;
      rd_codes_q <= job_codes_i;
      rd_word_q <= job_codes_i;
      rd_taps_q <= job_taps;
      rd_chunk_taps_q <= job_chunk_taps_i;
      rd_tap_left_q <= job_taps;
      rd_block_left_q <= job_blocks_i;
      rd_left_last_q <= job_alpha_words_i == 17'd1;
      rd_word_last_q <= job_codes_i == 7'd1;
      rd_word_one_q <= job_codes_i == 7'd1;
      rd_group_last_q <= job_filters_i <= 9'(G);
      rd_group_one_q <= job_filters_i <= 9'(G);
      rd_piece_last_q <= job_taps <= job_chunk_taps_i;
      rd_piece_one_q <= job_taps <= job_chunk_taps_i;
      rd_block_last_q <= job_blocks_i == 12'd1;
    end else if (rd_en) begin
      rd_addr_q <= rd_addr_q + 1'b1;
      rd_word_q <= rd_word_q - 1'b1;
      rd_left_q <= rd_left_q - 1'b1;
      rd_word_last_q <= rd_word_q == 7'd2;
      rd_left_last_q <= rd_left_q == 17'd2;
      if (rd_set_last) begin
        rd_word_q <= rd_codes_q;
        rd_word_last_q <= rd_word_one_q;
        rd_filter_left_q <= rd_filter_left_q - 9'(G);
        rd_group_last_q <= rd_filter_left_q <= 9'(2 * G);
        if (rd_group_last_q) begin
          rd_filter_left_q <= rd_filters_q;
          rd_group_last_q <= rd_group_one_q;
          rd_tap_left_q <= rd_tap_left_q - rd_chunk_taps_q;
          rd_piece_last_q <= {1'b0, rd_tap_left_q} <= {rd_chunk_taps_q, 1'b0};
          if (!rd_piece_last_q && !rd_linear_q) begin
            rd_addr_q <= rd_block_addr_q;
          end else if (rd_piece_last_q) begin
            rd_tap_left_q   <= rd_taps_q;
            rd_piece_last_q <= rd_piece_one_q;
            rd_block_left_q <= rd_block_left_q - 1'b1;
            rd_block_last_q <= rd_block_left_q == 12'd2;
            rd_block_addr_q <= rd_addr_q + 1'b1;
          end
        end
      end
    end
  end

  // The memory answers one cycle later.
  logic fill_q, fill_last_q;
  logic [BankW-1:0] fill_bank_q;
  logic [RowAw-1:0] fill_row_q;

  always_ff @(posedge clk_i) begin
    fill_q <= rst_ni && rd_en;
    fill_last_q <= rd_set_last;
    fill_bank_q <= rd_bank_q;
    fill_row_q <= rd_row_q;
  end

  logic [J*WordW-1:0] hold_row;

  for (genvar j = 0; j < J; j++) begin : g_hold
    logic [WordW-1:0] mem[Rows];
`ifdef __ICARUS__
    initial for (int i = 0; i < Rows; i++) mem[i] = '0;
`endif
    always_ff @(posedge clk_i) begin
      if (fill_q && fill_bank_q == BankW'(j)) mem[fill_row_q] <= alpha_data_i;
    end
    assign hold_row[j*WordW+:WordW] = mem[e1_row];
  end

  logic [RowAw:0] sets_ready_q;
  logic set_ready_q;  // sets_ready_q is not 0
  logic set_filled, set_taken, row_take;

  assign set_filled = fill_q && fill_last_q;
  assign row_take   = rd_en && rd_row_new_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      sets_ready_q <= '0;
      set_ready_q <= 1'b0;
      rows_free_q <= (RowAw + 1)'(Rows);
      row_free_q <= 1'b1;
      release_q <= 1'b0;
    end else begin
      sets_ready_q <= sets_ready_q + (RowAw + 1)'(set_filled) - (RowAw + 1)'(set_taken);
      set_ready_q <= set_filled || sets_ready_q > (RowAw + 1)'(1) || (set_ready_q && !set_taken);
      rows_free_q <= rows_free_q - (RowAw + 1)'(row_take) + (release_q ? released_rows_q : '0);
      row_free_q <= release_q || rows_free_q > (RowAw + 1)'(1) || (row_free_q && !row_take);
      release_q <= set_taken;
    end
    released_rows_q <= e1_rows;
  end

  // ---- Emitter: signed sums ---------------------------------------------------------------------
  localparam int CountW = $clog2(J + 1);
  localparam int EmitJobW = 8 * 1 + 9 + 2 * RowAw + CountW + 2 + 4 + 4 + 12 + 6 + 6 + 3 + 1;
  logic em_valid_q, em_loaded_q, em_done, em_load, em_dense_q, em_channel, em_channel_q;
  logic [1:0] em_log2_grid_q;
  // Whether a counter stands at its last value is kept in a register of its own, which needs the last
  // value but one (before), and whether the first value is the last one (one).
  logic [8:0] job_filters_before, em_filter_before_q;
  logic [RowAw-1:0] job_rows_end, job_row_before, em_row_before_q, em_rows_end_q;
  logic [CountW-1:0] job_row_codes, em_row_codes_q;  // codes of the last row
  logic [3:0] em_ky_before_q, em_kx_before_q;
  logic [11:0] em_block_before_q;
  logic [5:0] em_chunk_block_before_q, em_tap_before_q;
  logic em_row_one_q, em_ky_one_q, em_kx_one_q, em_tap_one_q, em_filter_one_q;
  logic em_chunk_block_one_q;
  logic [2:0] em_groups_q;
  logic [EmitJobW-1:0] em_job;
  logic [1:0] job_log2_grid;
  logic [11:0] job_block_before;
  logic [5:0] job_chunk_block_before, job_tap_before;
  logic [3:0] job_ky_before, job_kx_before;
  logic job_row_one, job_ky_one, job_kx_one, job_tap_one, job_filter_one, job_block_one;
  logic job_chunk_block_one;

  assign job_log2_grid = (job_kernel_h_i > 4'd4 || job_kernel_w_i > 4'd4) ? 2'd3 :
                         (job_kernel_h_i > 4'd2 || job_kernel_w_i > 4'd2) ? 2'd2 : 2'd1;
  assign job_row_before = job_rows_end - 1'b1;
  assign job_row_one = job_rows_end == '0;
  assign job_ky_before = job_kernel_h_i - 4'd2;
  assign job_kx_before = job_kernel_w_i - 4'd2;
  assign job_ky_one = job_kernel_h_i == 4'd1;
  assign job_kx_one = job_kernel_w_i == 4'd1;
  assign job_tap_before = job_chunk_taps_i - 6'd2;
  assign job_tap_one = job_chunk_taps_i == 6'd1;
  assign job_filter_one = job_filters_i <= 9'(G);
  assign job_block_before = job_blocks_i - 12'd2;
  assign job_block_one = job_blocks_i == 12'd1;
  assign job_chunk_block_before = job_chunk_blocks_i - 6'd2;
  assign job_chunk_block_one = job_chunk_blocks_i == 6'd1;

  localparam logic [8:0] GroupMask = 9'(G - 1);
  assign job_filters_before = ((job_filters_i - 9'd1) & ~GroupMask) - 9'(G);

  always_comb begin
    job_rows_end  = '0;
    job_row_codes = CountW'(job_codes_i);
    for (int r = 1; r < RowsMax; r++) begin
      if (job_codes_i > 7'(r * J)) begin
        job_rows_end  = RowAw'(r);
        job_row_codes = CountW'(job_codes_i - 7'(r * J));
      end
    end
  end

  // Jobs that wait, so that the reader gets far enough ahead where a job is a single set.
  logic head_valid, head_dense, head_channel;
  logic head_row_one, head_ky_one, head_kx_one, head_tap_one, head_filter_one, head_block_one;
  logic head_chunk_block_one;
  logic [8:0] head_filter_before;
  logic [RowAw-1:0] head_rows_end, head_row_before;
  logic [CountW-1:0] head_row_codes;
  logic [1:0] head_log2_grid;
  logic [3:0] head_ky_before, head_kx_before;
  logic [11:0] head_block_before;
  logic [5:0] head_chunk_block_before, head_tap_before;
  logic [2:0] head_groups;

  unzip_fifo #(
      .WIDTH(EmitJobW),
      .DEPTH(4)
  ) u_emit_job (
      .clk_i,
      .rst_ni,
      .in_valid_i(job_take),
      .in_ready_o(emit_job_ready),
      .in_data_i({
        job_row_one,
        job_ky_one,
        job_kx_one,
        job_tap_one,
        job_filter_one,
        job_block_one,
        job_chunk_block_one,
        job_dense_i,
        job_channel,
        job_filters_before,
        job_rows_end,
        job_row_before,
        job_row_codes,
        job_log2_grid,
        job_ky_before,
        job_kx_before,
        job_block_before,
        job_chunk_block_before,
        job_tap_before,
        job_groups_i
      }),
      .out_valid_o(head_valid),
      .out_ready_i(em_loaded_q),
      .out_data_o(em_job),
      .count_o()
  );

  assign {head_row_one, head_ky_one, head_kx_one, head_tap_one, head_filter_one, head_block_one,
          head_chunk_block_one, head_dense, head_channel, head_filter_before, head_rows_end,
          head_row_before, head_row_codes, head_log2_grid, head_ky_before, head_kx_before,
          head_block_before, head_chunk_block_before, head_tap_before, head_groups} = em_job;
  assign em_channel = CHANNEL_AXIS != 0 && em_channel_q;

  // Position in the job.
  logic [RowAw-1:0] em_set_row_q;  // first row of the set
  logic [RowAw-1:0] em_row_q;  // J codes of the list, and with kernel-axis codes row within the set
  logic [8:0] em_filter_q;
  logic [11:0] em_block_q;
  logic [5:0] em_chunk_block_q;
  logic [3:0] em_ky_q, em_kx_q, em_ky0_q, em_kx0_q;  // tap, and first tap of the chunk
  logic [5:0] em_tap_q;  // tap within the chunk
  logic [5:0] em_base_q;  // register file address of the block's first tap

  logic
      em_row_last_q, em_kx_last_q, em_ky_last_q, em_kx0_last_q, em_ky0_last_q, em_chunk_tap_last_q;
  logic em_filter_last_q, em_block_last_q, em_chunk_block_last_q;
  logic em_en, em_adv, e1_take, em_tap_end, em_tap_last, em_chunk_last, em_set_last, em_last;
  logic part_last, em_kx_last_next, em_ky_last_next;
  logic [3:0] em_ky_next, em_kx_next;

  assign em_adv = em_valid_q && e1_space;
  assign em_tap_end = em_kx_last_q && em_ky_last_q;  // last tap of the kernel
  assign em_tap_last = em_tap_end || em_chunk_tap_last_q;
  assign em_chunk_last = em_chunk_block_last_q || em_block_last_q || !em_tap_end;
  assign em_set_last = em_channel ? part_last : em_row_last_q && (em_dense_q || em_tap_last);
  assign em_kx_next = em_kx_last_q ? '0 : em_kx_q + 1'b1;
  assign em_ky_next = em_tap_end ? '0 : em_kx_last_q ? em_ky_q + 1'b1 : em_ky_q;
  assign em_kx_last_next = em_kx_last_q ? em_kx_one_q : em_kx_q == em_kx_before_q;
  assign em_ky_last_next = em_tap_end ? em_ky_one_q : em_kx_last_q ? em_ky_q == em_ky_before_q :
      em_ky_last_q;
  assign em_last = em_row_last_q && em_tap_end && em_filter_last_q && em_block_last_q;
  assign em_done = em_adv && em_last;
  // A job leaves its place in the cycle after it was loaded; the one behind it is not there yet.
  assign em_load = (!em_valid_q || em_done) && !em_loaded_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      em_valid_q   <= 1'b0;
      em_loaded_q  <= 1'b0;
      em_set_row_q <= '0;
    end else begin
      if (em_load || em_done) em_valid_q <= em_load && head_valid;
      em_loaded_q <= em_load && head_valid;
      if (em_adv && em_set_last) em_set_row_q <= em_set_row_q + rows_released[RowAw-1:0];
    end
    if (em_load) begin
      em_row_one_q <= head_row_one;
      em_ky_one_q <= head_ky_one;
      em_kx_one_q <= head_kx_one;
      em_tap_one_q <= head_tap_one;
      em_filter_one_q <= head_filter_one;
      em_chunk_block_one_q <= head_chunk_block_one;
      em_dense_q <= head_dense;
      em_channel_q <= head_channel;
      em_filter_before_q <= head_filter_before;
      em_rows_end_q <= head_rows_end;
      em_row_before_q <= head_row_before;
      em_row_codes_q <= head_row_codes;
      em_log2_grid_q <= head_log2_grid;
      em_ky_before_q <= head_ky_before;
      em_kx_before_q <= head_kx_before;
      em_block_before_q <= head_block_before;
      em_chunk_block_before_q <= head_chunk_block_before;
      em_tap_before_q <= head_tap_before;
      em_groups_q <= head_groups;

      em_row_q <= '0;
      em_filter_q <= '0;
      em_block_q <= '0;
      em_chunk_block_q <= '0;
      em_ky_q <= '0;
      em_kx_q <= '0;
      em_ky0_q <= '0;
      em_kx0_q <= '0;
      em_tap_q <= '0;
      em_base_q <= '0;
      em_row_last_q <= head_row_one;
      em_kx_last_q <= head_kx_one;
      em_ky_last_q <= head_ky_one;
      em_kx0_last_q <= head_kx_one;
      em_ky0_last_q <= head_ky_one;
      em_chunk_tap_last_q <= head_tap_one;
      em_filter_last_q <= head_filter_one;
      em_block_last_q <= head_block_one;
      em_chunk_block_last_q <= head_chunk_block_one;
    end else if (em_adv) begin
      em_row_q <= em_row_q + 1'b1;
      em_row_last_q <= em_row_q == em_row_before_q;
      if (em_row_last_q) begin
        em_row_q <= '0;
        em_row_last_q <= em_row_one_q;
        em_ky_q <= em_ky_next;
        em_kx_q <= em_kx_next;
        em_ky_last_q <= em_ky_last_next;
        em_kx_last_q <= em_kx_last_next;
        em_tap_q <= em_tap_q + 1'b1;
        em_chunk_tap_last_q <= em_tap_q == em_tap_before_q;
        if (em_tap_last) begin
          em_ky_q <= em_ky0_q;
          em_kx_q <= em_kx0_q;
          em_ky_last_q <= em_ky0_last_q;
          em_kx_last_q <= em_kx0_last_q;
          em_tap_q <= '0;
          em_chunk_tap_last_q <= em_tap_one_q;
          em_filter_q <= em_filter_q + 9'(G);
          em_filter_last_q <= em_filter_q == em_filter_before_q;
          if (em_filter_last_q) begin
            em_filter_q <= '0;
            em_filter_last_q <= em_filter_one_q;
            em_ky_q <= em_ky_next;
            em_kx_q <= em_kx_next;
            em_ky_last_q <= em_ky_last_next;
            em_kx_last_q <= em_kx_last_next;
            em_ky0_q <= em_ky_next;
            em_kx0_q <= em_kx_next;
            em_ky0_last_q <= em_ky_last_next;
            em_kx0_last_q <= em_kx_last_next;
            em_base_q <= em_base_q + em_tap_q + 1'b1;
            if (em_tap_end) begin
              em_block_q <= em_block_q + 1'b1;
              em_block_last_q <= em_block_q == em_block_before_q;
              em_chunk_block_q <= em_chunk_block_q + 1'b1;
              em_chunk_block_last_q <= em_chunk_block_q == em_chunk_block_before_q;
            end
            if (em_chunk_last) begin
              em_base_q <= '0;
              em_chunk_block_q <= '0;
              em_chunk_block_last_q <= em_chunk_block_one_q;
            end
          end
        end
      end
    end
  end

  // Stage 0: the steps, each with its row of the ring and its codes; the first waits for its set.
  localparam int SignLanes = CHANNEL_AXIS == 0 ? 1 : T_P < 16 ? T_P : 16;
  localparam int Parts = CHANNEL_AXIS != 0 ? SignLanes / J : 1;  // of a word that J alphas fill
  localparam int PartW = Parts > 1 ? $clog2(Parts) : 1;
  localparam int StepBits = 7 + RowAw + RowAw + 1 + J * 7 + 6 + 9 + 6 + 3 + PartW;
  logic e1_valid, e1_space, e1_dense, e1_channel, e1_set_last, e1_first, e1_last, e1_chunk_last;
  logic [RowAw-1:0] em_mem_row, e1_row;
  logic [RowAw:0] rows_released, e1_rows;
  logic [J*6-1:0] codes, e1_code;
  logic [J-1:0] live, e1_live;  // the others are past the list
  logic em_first, em_word_last;  // first row of a word; last word of the chunk
  logic [5:0] em_position, e1_position, em_step, e1_step;
  logic [8:0] e1_filter;
  logic [2:0] e1_groups;
  logic e1_block;  // lowest bit of the block's number
  logic [PartW-1:0] part, e1_part;
  logic [StepBits-1:0] e1;

  // Kernel axis: the tap's position on the grid (the only tap of a 1x1 kernel is position 0 of any grid).
  assign em_position = (6'(em_ky_q) << em_log2_grid_q) | 6'(em_kx_q);
  assign em_step = em_base_q + em_tap_q;
  assign em_first = em_row_q == '0;
  assign em_word_last = em_tap_last && em_filter_last_q && em_chunk_last;
  assign em_mem_row = em_channel ? em_set_row_q : em_set_row_q + em_row_q;
  assign rows_released = em_channel ? (RowAw + 1)'(1) : (RowAw + 1)'(em_row_q) + 1'b1;
  assign e1_take = e1_valid && set_ready_q && em_en;
  assign set_taken = e1_take && e1_set_last;

  for (genvar j = 0; j < J; j++) begin : g_code
    always_comb begin
      codes[j*6+:6] = '0;
      for (int r = 0; r < RowsMax; r++) begin
        if (r * J + j < 64 && em_row_q == RowAw'(r)) codes[j*6+:6] = code_q[(r*J+j)%64*6+:6];
      end
    end
    assign live[j] = !em_row_last_q || CountW'(j) < em_row_codes_q;
  end

  unzip_fifo #(
      .WIDTH(StepBits),
      .DEPTH(2)
  ) u_steps (
      .clk_i,
      .rst_ni,
      .in_valid_i(em_valid_q),
      .in_ready_o(e1_space),
      .in_data_i({
        em_dense_q,
        em_channel,
        em_set_last,
        em_first,
        em_row_last_q,
        em_word_last,
        em_block_q[0],
        em_mem_row,
        rows_released,
        codes,
        live,
        em_position,
        em_filter_q,
        em_step,
        em_groups_q,
        part
      }),
      .out_valid_o(e1_valid),
      .out_ready_i(e1_take),
      .out_data_o(e1),
      .count_o()
  );

  assign {e1_dense, e1_channel, e1_set_last, e1_first, e1_last, e1_chunk_last, e1_block, e1_row,
          e1_rows, e1_code, e1_live, e1_position, e1_filter, e1_step, e1_groups, e1_part} = e1;

  // Sign of each term: the parity of code AND position; with kernel-axis codes the same in all lanes,
  // with channel-axis codes the position is the channel's number modulo 16.
  logic [J*SignLanes-1:0] sign;
  logic [J*WordW-1:0] s0_row_q, alphas;
  logic s0_channel_q;
  logic [PartW-1:0] s0_part_q;

  for (genvar j = 0; j < J; j++) begin : g_term
    logic [5:0] code;
    logic kernel_sign;
    assign code = e1_code[j*6+:6];
    assign kernel_sign = !e1_dense && ^(code & e1_position);
    for (genvar l = 0; l < SignLanes; l++) begin : g_sign
      if (CHANNEL_AXIS != 0) begin : g_channel
        logic [3:0] channel;
        assign channel = T_P < 16 ? {e1_block, 3'(l)} : 4'(l);
        assign sign[j*SignLanes+l] = e1_channel ? ^(code[3:0] & channel) : kernel_sign;
      end else begin : g_kernel
        assign sign[j*SignLanes+l] = kernel_sign;
      end
    end
  end

  // Channel axis: the lanes of a word (of a half, with T_P = 32) are parts of J alphas, each of which
  // all these lanes share.
  if (CHANNEL_AXIS != 0) begin : g_part
    logic [PartW-1:0] part_q;
    logic [7:0] parts_then;  // parts in use after the next weight word, if it shares this one

    assign part = part_q;
    assign parts_then = 8'(part_q) + 8'd2 + 8'(em_rows_end_q);
    assign part_last = part_q == PartW'(Parts - 1) || em_last ||
        (em_row_last_q && parts_then > 8'(Parts));

    always_ff @(posedge clk_i) begin
      if (!rst_ni) begin
        part_q <= '0;
      end else if (em_adv && em_channel) begin
        part_q <= part_last ? '0 : part_q + 1'b1;
      end
    end

    for (genvar h = 0; h < Lanes / SignLanes; h++) begin : g_lanes
      logic [SignLanes*DW-1:0] word;
      logic [J*DW-1:0] shared;
      assign word   = s0_row_q[h*SignLanes*DW+:SignLanes*DW];
      assign shared = word[32'(s0_part_q)*(J*DW)+:J*DW];
      for (genvar j = 0; j < J; j++) begin : g_alpha
        localparam int Lsb = j * WordW + h * SignLanes * DW;
        assign alphas[Lsb+:SignLanes*DW] =
            s0_channel_q ? {SignLanes{shared[j*DW+:DW]}} : s0_row_q[Lsb+:SignLanes*DW];
      end
    end
  end else begin : g_no_part
    assign part_last = 1'b0;
    assign part = '0;
    assign alphas = s0_row_q;
    logic unused;
    assign unused = ^{em_rows_end_q, s0_channel_q, e1_block, s0_part_q};
  end

  // Stage 0: the row of the ring and the signs; stage 1: alphas of the row, 0 past the list, complemented
  // where they are to be subtracted; stage 2: their sum, with the ones that make the complements negative;
  // stage 3: sum over the rows.
  logic s0_valid_q, s0_first_q, s0_last_q, s0_chunk_last_q;
  logic [8:0] s0_filter_q;
  logic [5:0] s0_step_q;
  logic [2:0] s0_groups_q;
  logic [J-1:0] s0_live_q;
  logic [J*SignLanes-1:0] s0_sign_q;
  logic s1_valid_q, s1_first_q, s1_last_q, s1_chunk_last_q;
  logic s2_valid_q, s2_first_q, s2_last_q, s2_chunk_last_q;
  logic [8:0] s1_filter_q, s2_filter_q;
  logic [5:0] s1_step_q, s2_step_q;
  logic [2:0] s1_groups_q, s2_groups_q;
  logic [J*WordW-1:0] s1_alpha_q;
  logic [J*SignLanes-1:0] s1_sign_q;
  logic [WordW-1:0] row_sum, s2_sum_q;
  logic word_valid_q, word_last_q;
  logic [WordW-1:0] word_data_q;
  logic [8:0] word_filter_q;
  logic [5:0] word_step_q;
  logic [2:0] word_groups_q;

  assign em_en = !word_valid_q || word_ready_i;

  always_comb begin
    for (int l = 0; l < Lanes; l++) begin
      row_sum[l*DW+:DW] = '0;
      for (int j = 0; j < J; j++) begin
        row_sum[l*DW+:DW] = row_sum[l*DW+:DW] + s1_alpha_q[j*WordW+l*DW+:DW] +
            DW'(s1_sign_q[j*SignLanes+l%SignLanes]);
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      s0_valid_q   <= 1'b0;
      s1_valid_q   <= 1'b0;
      s2_valid_q   <= 1'b0;
      word_valid_q <= 1'b0;
    end else if (em_en) begin
      s0_valid_q   <= e1_take;
      s1_valid_q   <= s0_valid_q;
      s2_valid_q   <= s1_valid_q;
      word_valid_q <= s2_valid_q && s2_last_q;
    end
  end

  always_ff @(posedge clk_i) begin
    if (em_en) begin
      s0_row_q <= hold_row;
      s0_channel_q <= e1_channel;
      s0_part_q <= e1_part;
      s0_live_q <= e1_live;
      s0_sign_q <= sign;
      s0_first_q <= e1_first;
      s0_last_q <= e1_last;
      s0_chunk_last_q <= e1_chunk_last;
      s0_filter_q <= e1_filter;
      s0_step_q <= e1_step;
      s0_groups_q <= e1_groups;
    end
    if (em_en) begin
      for (int j = 0; j < J; j++) begin
        for (int l = 0; l < Lanes; l++) begin
          s1_alpha_q[j*WordW+l*DW+:DW] <= !s0_live_q[j] ? '0 : s0_sign_q[j*SignLanes+l%SignLanes] ?
              ~alphas[j*WordW+l*DW+:DW] : alphas[j*WordW+l*DW+:DW];
        end
        s1_sign_q[j*SignLanes+:SignLanes] <= s0_live_q[j] ? s0_sign_q[j*SignLanes+:SignLanes] : '0;
      end
      s1_first_q <= s0_first_q;
      s1_last_q <= s0_last_q;
      s1_chunk_last_q <= s0_chunk_last_q;
      s1_filter_q <= s0_filter_q;
      s1_step_q <= s0_step_q;
      s1_groups_q <= s0_groups_q;
    end
    if (em_en) begin
      s2_sum_q <= row_sum;
      s2_first_q <= s1_first_q;
      s2_last_q <= s1_last_q;
      s2_chunk_last_q <= s1_chunk_last_q;
      s2_filter_q <= s1_filter_q;
      s2_step_q <= s1_step_q;
      s2_groups_q <= s1_groups_q;
    end
    if (em_en && s2_valid_q) begin
      for (int l = 0; l < Lanes; l++) begin
        word_data_q[l*DW+:DW] <= s2_sum_q[l*DW+:DW] + (s2_first_q ? '0 : word_data_q[l*DW+:DW]);
      end
      word_filter_q <= s2_filter_q;
      word_step_q   <= s2_step_q;
      word_groups_q <= s2_groups_q;
      word_last_q   <= s2_chunk_last_q;
    end
  end

  assign word_valid_o = word_valid_q;
  assign word_data_o = word_data_q;
  assign word_filter_o = word_filter_q;
  assign word_step_o = word_step_q;
  assign word_groups_o = word_groups_q;
  assign word_last_o = word_last_q;
  assign busy_o = rd_busy_q || head_valid || em_valid_q || e1_valid || s0_valid_q ||
      s1_valid_q || s2_valid_q;

  `UNZIP_ASSERT_STREAM(WordStable, word_valid_o, word_ready_i, ({
                       word_data_o, word_filter_o, word_step_o, word_groups_o, word_last_o}),
                       WordW + 19, clk_i, rst_ni)
  `UNZIP_ASSERT(RowsFit, rows_free_q <= (RowAw + 1)'(Rows), clk_i, rst_ni)

endmodule
