// SPDX-License-Identifier: Apache-2.0
// Window reader: walks the output pixels of a tile and reads the input word of every step.
//
// Mathematics: output pixel (oy, ox) takes, for tap (ky, kx) of channel block b, the word
//   x[b][oy*stride_h - pad_top + ky][ox*stride_w - pad_left + kx], or zeros outside the input
// Order (the same as the weights generator's)
//   for each chunk: for each row of `groups` pixels, in raster order: for each block of the chunk: for
//   each tap of it
//   Pixel k of a row goes to row bus k; the last row may have fewer. The S reads of a step are made
//   together; reads of one bank take turns, a cycle each, and the step waits for the last of them.
//   For the projector (PROJECTOR = 1, see unzip_projector) it reads
//   - along the kernel: for each block (a chunk), for each line of the tile, rows of S pixels, their new
//     stride_w columns only, with one row before the first (two if S and stride_w are 1) for the columns
//     to its left. The job's kernel_w, pad_left and read_rows describe these reads.
//   - along the channels: for each step 16/n blocks of one tap, S of them together if there is one
//     group of PEs (and T_P is at least 16), else one of each pixel. A part is what is read together.
//
// Interface: a job stream (one tile a job), S read ports to the activation memory, the words with what
// the PE array needs to know of each step (without back-pressure: the tile's accumulator bank is free
// before it starts; along the kernel the projector's room_i holds the reads back), chunk_* to take the
// chunks of weights, start_* for what the projector needs of a tile. done_o pulses when the tile's last
// read has returned. A tile of another domain than the last one waits until the projector is empty.
// Throughput: one step (of `groups` pixels) a cycle, without a bubble between pixels and chunks and with
// one of a cycle between tiles, as long as weights are there, an accumulator bank is free and the memory
// grants the reads.
`include "unzip_assert.svh"
`include "unzip_limits.svh"

module unzip_window_reader #(
    parameter int T_P = 8,  // activations of a word
    parameter int T_R = 16,  // accumulator rows per tile
    parameter int S = 1,  // row buses
    parameter int D = 9,  // weight words per half of a register file
    parameter int DW = 8,  // bits of an activation
    parameter int PROJECTOR = 0,  // 1: reads for the projector, too
    parameter int ACT_BANKS = 2,
    parameter int ACT_DEPTH = 512,
    localparam int BANK_W = $clog2(ACT_BANKS),
    localparam int ADDR_W = $clog2(ACT_DEPTH),
    localparam int ROW_AW = $clog2(T_R),
    localparam int STEP_W = $clog2(D)
) (
    input logic clk_i,
    input logic rst_ni,

    input  logic              job_valid_i,
    output logic              job_ready_o,
    input  logic              job_project_i,
    input  logic              job_channel_i,       // of project: along the channels
    input  logic [       3:0] job_codes_i,         // of project
    input  logic [      11:0] job_read_rows_i,     // of project along the kernel
    input  logic [       3:0] job_kernel_h_i,
    input  logic [       3:0] job_kernel_w_i,
    input  logic [      11:0] job_blocks_i,
    input  logic [       5:0] job_chunk_blocks_i,
    input  logic [       5:0] job_chunk_taps_i,
    input  logic [      15:0] job_src_base_i,
    input  logic [      11:0] job_src_row_i,
    input  logic [      15:0] job_src_block_i,
    input  logic [       1:0] job_src_shift_i,
    input  logic [BANK_W-1:0] job_src_bank_i,
    input  logic [      11:0] job_in_h_i,
    input  logic [      11:0] job_in_w_i,
    input  logic [       2:0] job_stride_h_i,
    input  logic [       2:0] job_stride_w_i,
    input  logic [       3:0] job_pad_top_i,
    input  logic [       3:0] job_pad_left_i,
    input  logic              job_row0_i,
    input  logic              job_reduce_first_i,  // 0: continue the sums of the previous job
    input  logic              job_reduce_last_i,   // 0: the next job continues the sums
    input  logic [      11:0] job_out_x_i,
    input  logic [      11:0] job_out_y_i,
    input  logic [      11:0] job_out_w_i,
    input  logic [      11:0] job_pixels_i,        // 1 to T_R*groups, any number with row0
    input  logic [       2:0] job_groups_i,        // 1 to S and to out_w; 1 with row0
    output logic              done_o,
    output logic              busy_o,

    output logic [       S-1:0] read_valid_o,
    input  logic                read_ready_i,
    output logic [S*BANK_W-1:0] read_bank_o,
    output logic [S*ADDR_W-1:0] read_addr_o,
    input  logic [S*T_P*DW-1:0] read_data_i,

    input  logic chunk_valid_i,
    output logic chunk_take_o,

    output logic                word_valid_o,
    output logic [S*T_P*DW-1:0] word_data_o,
    output logic [         1:0] word_domain_o,      // see unzip_pkg
    output logic [         1:0] word_log2_codes_o,  // along the channels: n,
    output logic [         3:0] word_part_o,        // the part of the step,
    output logic                word_part_last_o,
    output logic                word_single_o,      // one group of PEs
    output logic [  STEP_W-1:0] word_step_o,
    output logic [  ROW_AW-1:0] word_row_o,
    output logic                word_bank_o,
    output logic                word_fresh_o,
    output logic                word_first_o,
    output logic                word_last_o,
    output logic                word_chunk_last_o,
    output logic                word_tile_last_o,

    // projector
    output logic        start_valid_o,         // a tile along the kernel
    input  logic        start_ready_i,
    output logic [11:0] start_pixels_o,
    output logic [11:0] start_out_x_o,
    output logic [11:0] start_out_w_o,
    output logic        start_stride_two_o,
    output logic [ 2:0] start_groups_o,
    output logic [ 3:0] start_codes_o,
    output logic [11:0] start_blocks_o,
    output logic        start_reduce_first_o,
    output logic        start_reduce_last_o,
    output logic        start_bank_o,
    output logic        issue_o,               // a read along the kernel is on its way
    input  logic        room_i,                // there is room for one more
    input  logic        projector_busy_i,

    input logic tile_release_i,  // the post stage has drained a bank

    // what a cycle was used for
    output logic waits_weights_o,
    output logic waits_post_o,
    output logic conflict_o
);

  `UNZIP_LIMIT_T_P
  `UNZIP_LIMIT_T_R
  `UNZIP_LIMIT_S
  `UNZIP_LIMIT_D
  `UNZIP_LIMIT_DW
  `UNZIP_LIMIT_PROJECTOR
  `UNZIP_LIMIT_ACT_BANKS
  `UNZIP_LIMIT_ACT_DEPTH

  // By additions, so that no multiplier block is spent on it.
  function automatic logic [13:0] times_stride(input logic [11:0] value, input logic [2:0] stride);
    times_stride = (stride[0] ? 14'(value) : 14'd0) + (stride[1] ? {1'b0, value, 1'b0} : 14'd0) +
        (stride[2] ? {value, 2'b00} : 14'd0);
  endfunction

  // Blocks of one pixel that are read together along the channels.
  localparam int PortsMax = T_P < 16 ? 1 : S;

  // ---- Next tile: everything that its start needs, computed while the present one runs -----------
  logic next_valid_q, run_q, start, step_en;
  logic start_q;  // the next step to come into stage 0 is the first of a tile
  // Whether a counter stands at its last value is kept in a register of its own, which needs the last
  // value but one (before), and whether the first value is the last one (one).
  logic [3:0] next_ky_before_q, next_kx_before_q;
  logic [11:0] next_blocks_before_q, next_src_row_q, next_in_h_q, next_in_w_q;
  logic [5:0] next_chunk_blocks_before_q, next_chunk_taps_before_q;
  logic next_ky_one_q, next_kx_one_q, next_blocks_one_q, next_chunk_blocks_one_q;
  logic next_chunk_taps_one_q, next_rows_one_q;
  logic [15:0] next_src_base_q, next_src_block_q;
  logic [1:0] next_src_shift_q;
  logic [BANK_W-1:0] next_src_bank_q;
  logic [2:0] next_stride_w_q, next_stride_h_q;
  logic next_row0_q, next_reduce_first_q, next_reduce_last_q;
  logic [11:0] next_out_x_q, next_out_w_q, next_pixels_q;
  logic [ 2:0] next_groups_q;
  logic [13:0] next_row_stride_q;  // entries from one output row to the next
  logic signed [13:0] next_iy_q, next_ix_q, next_row_step_q, next_line_step_q, next_line_ix_q;
  logic [1:0] next_domain_q, job_domain;
  // Pixels by which the walk goes on, and those of them that it counts.
  logic [2:0] job_walk, job_count, next_count_q;
  logic [11:0] job_walk_rows, job_blocks_walk, next_edge_q;
  logic [2:0] job_log2_words, job_log2_ports, next_log2_words_q, next_log2_ports_q;
  logic [3:0] job_words_mask;
  logic [4:0] job_words_end, next_words_end_q;  // blocks of the last group of 16/n
  logic next_single_q;

  assign job_domain = PROJECTOR == 0 || !job_project_i ? unzip_pkg::DOMAIN_WEIGHTS :
      job_channel_i ? unzip_pkg::DOMAIN_CHANNELS : unzip_pkg::DOMAIN_KERNEL;
  assign job_walk = S == 1 ? 3'd1 : job_domain == unzip_pkg::DOMAIN_KERNEL ? 3'(S) : job_groups_i;
  assign job_count = S == 1 || job_domain == unzip_pkg::DOMAIN_KERNEL ? 3'd1 : job_groups_i;
  assign job_walk_rows = job_domain == unzip_pkg::DOMAIN_KERNEL ? job_read_rows_i : job_pixels_i;
  // 16/n, and of these the ones that are read together.
  assign job_log2_words = job_domain == unzip_pkg::DOMAIN_CHANNELS ? unzip_pkg::log2_code_blocks(
      job_codes_i
  ) : 3'd0;
  assign job_log2_ports = PortsMax == 1 ||
      job_domain != unzip_pkg::DOMAIN_CHANNELS || job_groups_i != 3'd1 ?
      3'd0 : PortsMax == 2 || job_log2_words == 3'd1 ? 3'd1 : 3'd2;
  assign job_words_mask = ~(4'hf << job_log2_words);
  assign job_words_end = {1'b0, 4'(job_blocks_i - 12'd1) & job_words_mask} + 5'd1;
  assign job_blocks_walk = ((job_blocks_i - 12'd1) >> job_log2_words) + 12'd1;

  assign job_ready_o = !next_valid_q && !start_q;  // stage 0 takes its part a cycle later

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      next_valid_q <= 1'b0;
    end else if (job_valid_i && job_ready_o) begin
      next_valid_q <= 1'b1;
    end else if (start) begin
      next_valid_q <= 1'b0;
    end
  end

  always_ff @(posedge clk_i) begin
    if (job_valid_i && job_ready_o) begin
      next_ky_before_q <= job_kernel_h_i - 4'd2;
      next_kx_before_q <= job_kernel_w_i - 4'd2;
      next_blocks_before_q <= job_blocks_walk - 12'd2;
      next_ky_one_q <= job_kernel_h_i == 4'd1;
      next_kx_one_q <= job_kernel_w_i == 4'd1;
      next_blocks_one_q <= job_blocks_walk == 12'd1;
      next_domain_q <= job_domain;
      next_log2_words_q <= job_log2_words;
      next_log2_ports_q <= job_log2_ports;
      next_words_end_q <= job_words_end;
      next_single_q <= job_groups_i == 3'd1;
      next_count_q <= job_count;
      // Where a line ends: the last place of a row's first pixel. Along the kernel places count from the
      // rows before the line on.
      next_edge_q <= job_domain == unzip_pkg::DOMAIN_KERNEL ?
          job_out_w_i + 12'(S == 1 && job_stride_w_i == 3'd1) : job_out_w_i - 12'(job_walk);
      next_chunk_blocks_one_q <= job_chunk_blocks_i == 6'd1;
      next_chunk_taps_one_q <= job_chunk_taps_i == 6'd1;
      next_rows_one_q <= job_walk_rows <= 12'(job_count);
      next_src_row_q <= job_src_row_i;
      next_in_h_q <= job_in_h_i;
      next_in_w_q <= job_in_w_i;
      next_chunk_blocks_before_q <= job_chunk_blocks_i - 6'd2;
      next_chunk_taps_before_q <= job_chunk_taps_i - 6'd2;
      next_src_base_q <= job_src_base_i;
      next_src_block_q <= job_src_block_i;
      next_src_shift_q <= job_src_shift_i;
      next_src_bank_q <= job_src_bank_i;
      next_stride_w_q <= job_stride_w_i;
      next_stride_h_q <= job_stride_h_i;
      next_row0_q <= job_row0_i;
      next_reduce_first_q <= job_reduce_first_i;
      next_reduce_last_q <= job_reduce_last_i;
      next_out_x_q <= job_out_x_i;
      next_out_w_q <= job_out_w_i;
      next_pixels_q <= job_walk_rows;
      next_groups_q <= job_walk;
      next_row_stride_q <= times_stride(job_src_row_i, job_stride_h_i);
      next_row_step_q <= times_stride(12'(job_walk), job_stride_w_i);
      next_line_step_q <= times_stride(job_out_w_i, job_stride_w_i);
      next_iy_q <= times_stride(job_out_y_i, job_stride_h_i) - 14'(job_pad_top_i);
      next_ix_q <= times_stride(job_out_x_i, job_stride_w_i) - 14'(job_pad_left_i);
      next_line_ix_q <= 14'd0 - 14'(job_pad_left_i);
    end
  end

  if (PROJECTOR != 0) begin : g_next_projector
    logic [11:0] pixels_q, next_blocks_q;
    logic [3:0] next_codes_q;
    logic [2:0] pe_groups_q;
    always_ff @(posedge clk_i) begin
      if (job_valid_i && job_ready_o) begin
        pixels_q <= job_pixels_i;
        next_blocks_q <= job_blocks_i;
        next_codes_q <= job_codes_i;
        pe_groups_q <= S == 1 ? 3'd1 : job_groups_i;
      end
    end
    assign start_valid_o = start && next_domain_q == unzip_pkg::DOMAIN_KERNEL;
    assign start_pixels_o = pixels_q;
    assign start_out_x_o = next_out_x_q;
    assign start_out_w_o = next_out_w_q;
    assign start_stride_two_o = next_stride_w_q == 3'd2;
    assign start_groups_o = pe_groups_q;
    assign start_codes_o = next_codes_q;
    assign start_blocks_o = next_blocks_q;
    assign start_reduce_first_o = next_reduce_first_q;
    assign start_reduce_last_o = next_reduce_last_q;
  end else begin : g_no_projector
    assign start_valid_o = 1'b0;
    assign start_pixels_o = '0;
    assign start_out_x_o = '0;
    assign start_out_w_o = '0;
    assign start_stride_two_o = 1'b0;
    assign start_groups_o = '0;
    assign start_codes_o = '0;
    assign start_blocks_o = '0;
    assign start_reduce_first_o = 1'b0;
    assign start_reduce_last_o = 1'b0;
    logic unused;
    assign unused = &{1'b0, job_project_i, job_channel_i, job_codes_i, job_read_rows_i, room_i,
                      next_line_ix_q,
                      start_ready_i, projector_busy_i};
  end

  // ---- Present tile: its steps -------------------------------------------------------------------
  logic [3:0] ky_before_q, kx_before_q;
  logic [11:0] blocks_before_q, src_row_q, pixels_q;
  logic [2:0] count_q;
  logic [5:0] chunk_blocks_before_q, chunk_taps_before_q;
  logic ky_one_q, kx_one_q, chunk_blocks_one_q, chunk_taps_one_q, rows_one_q;
  logic [15:0] src_block_q;
  logic row0_q, reduce_last_q;

  // Position. "chunk" registers hold the first block and tap of the chunk.
  logic [3:0] ky_q, kx_q, chunk_ky_q, chunk_kx_q;
  logic [5:0] tap_q, block_in_chunk_q;
  logic [11:0] block_q, chunk_block_q, pixels_left_q;
  logic ky_last_q, kx_last_q, tap_end_q, chunk_ky_last_q, chunk_kx_last_q;
  logic chunk_tap_last_q, chunk_block_last_q, block_end_q, chunk_block_end_q, row_last_q;
  logic [ROW_AW-1:0] row_q;
  logic row_first_q, step_first_q;
  logic [15:0] block_off_q, chunk_block_off_q, ky_off_q, chunk_ky_off_q;
  logic [BANK_W-1:0] bank_q, chunk_bank_q;
  logic [STEP_W-1:0] step_q;
  logic first_chunk_q, chunk_open_q, acc_bank_q;
  logic [1:0] banks_used_q;
  logic [1:0] domain_q;
  logic [2:0] log2_words_q, log2_ports_q;
  logic [4:0] words_end_q;
  logic single_q;
  logic [3:0] part_q, part_end;
  logic [15:0] part_off_q;
  logic part_last, other_domain, projector_there, reads_there;
  logic [15:0] block_step;
  logic [BANK_W-1:0] bank_step, part_bank;

  logic tap_end, tap_last, block_last, row_done, chunk_last, tile_last;
  logic en, can_step, read_en, bank_there;
  logic [3:0] ky_next, kx_next;
  logic ky_last_next, kx_last_next, block_end_next;
  logic [15:0] ky_off_next;

  assign tap_end = tap_end_q;  // kx_last_q && ky_last_q
  assign tap_last = tap_end || chunk_tap_last_q;
  assign block_last = chunk_block_last_q || block_end_q || !tap_end;
  assign row_done = tap_last && block_last;  // all steps of the row in this chunk
  assign chunk_last = row_done && row_last_q;
  assign tile_last = tap_end && block_end_q && row_last_q;
  assign kx_next = kx_last_q ? '0 : kx_q + 1'b1;
  assign ky_next = tap_end ? '0 : kx_last_q ? ky_q + 1'b1 : ky_q;
  assign kx_last_next = kx_last_q ? kx_one_q : kx_q == kx_before_q;
  assign ky_last_next = tap_end ? ky_one_q : kx_last_q ? ky_q == ky_before_q : ky_last_q;
  assign ky_off_next = tap_end ? '0 : kx_last_q ? ky_off_q + 16'(src_row_q) : ky_off_q;
  assign block_end_next = block_q == blocks_before_q;

  // Parts of a step: one, except along the channels.
  assign part_end = (4'd1 << (log2_words_q - log2_ports_q)) - 4'd1;
  assign part_last = PROJECTOR == 0 || part_q == part_end;
  assign other_domain = PROJECTOR != 0 && next_domain_q != domain_q &&
      (reads_there || projector_busy_i);

  assign can_step = run_q && (chunk_open_q || chunk_valid_i) &&
      (PROJECTOR == 0 || domain_q != unzip_pkg::DOMAIN_KERNEL || room_i);
  assign read_en = can_step && en;
  assign step_en = read_en && part_last;
  assign issue_o = read_en && PROJECTOR != 0 && domain_q == unzip_pkg::DOMAIN_KERNEL;
  assign chunk_take_o = read_en && !chunk_open_q;
  assign bank_there = banks_used_q != 2'd2 || !next_reduce_first_q;
  assign projector_there = !other_domain &&
      (PROJECTOR == 0 || next_domain_q != unzip_pkg::DOMAIN_KERNEL || start_ready_i);
  assign start = next_valid_q && bank_there && projector_there && !run_q;
  assign waits_weights_o = run_q && !chunk_open_q && !chunk_valid_i &&
      (PROJECTOR == 0 || !projector_busy_i);
  assign waits_post_o = !run_q && next_valid_q && !bank_there;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      run_q <= 1'b0;
      chunk_open_q <= 1'b0;
      acc_bank_q <= 1'b1;
      banks_used_q <= 2'd0;
    end else begin
      if (start) begin
        run_q <= 1'b1;
        acc_bank_q <= acc_bank_q ^ next_reduce_first_q;
      end else if (step_en && tile_last) begin
        run_q <= 1'b0;
      end
      if (read_en) chunk_open_q <= !(chunk_last && part_last);
      banks_used_q <= banks_used_q + 2'(start && next_reduce_first_q) - 2'(tile_release_i);
    end
  end

  always_ff @(posedge clk_i) begin
    if (start) begin
      ky_before_q <= next_ky_before_q;
      kx_before_q <= next_kx_before_q;
      blocks_before_q <= next_blocks_before_q;
      chunk_blocks_before_q <= next_chunk_blocks_before_q;
      chunk_taps_before_q <= next_chunk_taps_before_q;
      ky_one_q <= next_ky_one_q;
      kx_one_q <= next_kx_one_q;
      chunk_blocks_one_q <= next_chunk_blocks_one_q;
      chunk_taps_one_q <= next_chunk_taps_one_q;
      rows_one_q <= next_rows_one_q;
      src_row_q <= next_src_row_q;
      src_block_q <= next_src_block_q;
      row0_q <= next_row0_q;
      reduce_last_q <= next_reduce_last_q;
      pixels_q <= next_pixels_q;
      count_q <= next_count_q;
      domain_q <= next_domain_q;
      log2_words_q <= next_log2_words_q;
      log2_ports_q <= next_log2_ports_q;
      words_end_q <= next_words_end_q;
      single_q <= next_single_q;
      part_q <= '0;
      part_off_q <= '0;

      ky_q <= '0;
      kx_q <= '0;
      chunk_ky_q <= '0;
      chunk_kx_q <= '0;
      ky_last_q <= next_ky_one_q;
      kx_last_q <= next_kx_one_q;
      tap_end_q <= next_kx_one_q && next_ky_one_q;
      chunk_ky_last_q <= next_ky_one_q;
      chunk_kx_last_q <= next_kx_one_q;
      ky_off_q <= '0;
      chunk_ky_off_q <= '0;
      tap_q <= '0;
      chunk_tap_last_q <= next_chunk_taps_one_q;
      block_in_chunk_q <= '0;
      chunk_block_last_q <= next_chunk_blocks_one_q;
      block_q <= '0;
      block_end_q <= next_blocks_one_q;
      chunk_block_q <= '0;
      chunk_block_end_q <= next_blocks_one_q;
      block_off_q <= '0;
      chunk_block_off_q <= '0;
      bank_q <= next_src_bank_q;
      chunk_bank_q <= next_src_bank_q;
      pixels_left_q <= next_pixels_q;
      row_last_q <= next_rows_one_q;
      row_q <= '0;
      row_first_q <= 1'b1;
      step_q <= '0;
      step_first_q <= 1'b1;
      first_chunk_q <= next_reduce_first_q;
    end else if (PROJECTOR != 0 && read_en && !part_last) begin
      part_q <= part_q + 1'b1;
      part_off_q <= part_off_q + (src_block_q << log2_ports_q);
    end else if (step_en) begin
      part_q <= '0;
      part_off_q <= '0;
      step_q <= step_q + 1'b1;
      step_first_q <= 1'b0;
      tap_q <= tap_q + 1'b1;
      chunk_tap_last_q <= tap_q == chunk_taps_before_q;
      kx_q <= kx_next;
      ky_q <= ky_next;
      kx_last_q <= kx_last_next;
      ky_last_q <= ky_last_next;
      tap_end_q <= kx_last_next && ky_last_next;
      ky_off_q <= ky_off_next;
      if (tap_last) begin
        tap_q <= '0;
        chunk_tap_last_q <= chunk_taps_one_q;
        kx_q <= chunk_kx_q;
        ky_q <= chunk_ky_q;
        kx_last_q <= chunk_kx_last_q;
        ky_last_q <= chunk_ky_last_q;
        tap_end_q <= chunk_kx_last_q && chunk_ky_last_q;
        ky_off_q <= chunk_ky_off_q;
        block_q <= block_q + 1'b1;
        block_end_q <= block_end_next;
        block_in_chunk_q <= block_in_chunk_q + 1'b1;
        chunk_block_last_q <= block_in_chunk_q == chunk_blocks_before_q;
        block_off_q <= block_off_q + block_step;
        bank_q <= bank_q + bank_step;
      end
      if (row_done) begin
        step_q <= '0;
        step_first_q <= 1'b1;
        block_q <= chunk_block_q;
        block_end_q <= chunk_block_end_q;
        block_in_chunk_q <= '0;
        chunk_block_last_q <= chunk_blocks_one_q;
        block_off_q <= chunk_block_off_q;
        bank_q <= chunk_bank_q;
        pixels_left_q <= pixels_left_q - 12'(count_q);
        row_last_q <= pixels_left_q <= {8'b0, count_q, 1'b0};
        row_q <= row0_q ? '0 : row_q + 1'b1;
        row_first_q <= 1'b0;
      end
      if (chunk_last) begin
        pixels_left_q <= pixels_q;
        row_last_q <= rows_one_q;
        row_q <= '0;
        row_first_q <= 1'b1;
        first_chunk_q <= 1'b0;
        kx_q <= kx_next;
        ky_q <= ky_next;
        kx_last_q <= kx_last_next;
        ky_last_q <= ky_last_next;
        tap_end_q <= kx_last_next && ky_last_next;
        ky_off_q <= ky_off_next;
        chunk_kx_q <= kx_next;
        chunk_ky_q <= ky_next;
        chunk_kx_last_q <= kx_last_next;
        chunk_ky_last_q <= ky_last_next;
        chunk_ky_off_q <= ky_off_next;
        if (tap_end) begin
          block_q <= block_q + 1'b1;
          block_end_q <= block_end_next;
          chunk_block_q <= block_q + 1'b1;
          chunk_block_end_q <= block_end_next;
          block_off_q <= block_off_q + block_step;
          chunk_block_off_q <= block_off_q + block_step;
          bank_q <= bank_q + bank_step;
          chunk_bank_q <= bank_q + bank_step;
        end
      end
    end
  end

  assign start_bank_o = acc_bank_q ^ next_reduce_first_q;
  assign block_step = PROJECTOR == 0 ? src_block_q : src_block_q << log2_words_q;
  assign bank_step = PROJECTOR == 0 ? BANK_W'(1) : BANK_W'(1) << log2_words_q;
  assign part_bank = PROJECTOR == 0 ? '0 : BANK_W'(part_q << log2_ports_q);

  // ---- Stage 0: the step, and the pixels that it reads for --------------------------------------------
  localparam int FlagW = STEP_W + ROW_AW + 7 + 10;
  logic s0_valid_q, s0_row_done_q, s0_chunk_last_q;
  logic [FlagW-1:0] s0_flags_q, s1_flags_q, s2_flags_q, s3_flags_q, s4_flags_q;
  logic [FlagW-1:0] s5_flags_q;
  logic [S-1:0] s0_live_q;
  logic [S-1:0] block_there;  // along the channels: of the last 16/n blocks some may not exist
  logic [3:0] s0_ky_q, s0_kx_q;
  logic [15:0] s0_off_q;
  logic [BANK_W-1:0] s0_bank_q;

  // What stage 0 needs of a tile, kept while its steps are there.
  logic [11:0] s0_in_h_q, s0_in_w_q;
  logic [11:0] s0_edge_q, s0_wrap_x_q;  // the line's end: from here on, by so much back
  logic [2:0] s0_stride_h_q, s0_groups_q;
  logic s0_kernel_q;  // reads along the kernel: all buses go to the next line together
  logic [1:0] s0_shift_q;
  logic [15:0] s0_row_stride_q;
  // Columns from a pixel to that of the next row on the same bus, within a line and into the next one.
  logic signed [13:0] s0_row_step_q, s0_wrap_step_q;

  always_ff @(posedge clk_i) begin
    start_q <= rst_ni && (start || (start_q && !en));
    if (start_q && en) begin
      s0_in_h_q <= next_in_h_q;
      s0_in_w_q <= next_in_w_q;
      s0_stride_h_q <= next_stride_h_q;
      s0_shift_q <= next_src_shift_q;
      s0_groups_q <= next_groups_q;
      s0_edge_q <= next_edge_q;
      s0_kernel_q <= PROJECTOR != 0 && next_domain_q == unzip_pkg::DOMAIN_KERNEL;
      s0_wrap_x_q <= 12'(next_groups_q) - next_out_w_q;
      s0_row_stride_q <= {2'b00, next_row_stride_q};
      s0_row_step_q <= next_row_step_q;
      s0_wrap_step_q <= next_row_step_q - next_line_step_q;
    end
    if (en) begin
      s0_row_done_q <= row_done && part_last;
      s0_chunk_last_q <= chunk_last && part_last;
      s0_flags_q <= {
        domain_q,
        2'(3'd4 - log2_words_q),
        part_q,
        part_last,
        single_q,
        step_q,
        row_q,
        acc_bank_q,
        first_chunk_q && (!row0_q || row_first_q),
        step_first_q,
        row_done,
        chunk_last,
        tile_last && reduce_last_q,
        tile_last && part_last
      };
      for (int k = 0; k < S; k++) begin
        s0_live_q[k] <= (k == 0 || PortsMax > 1 && log2_ports_q > 3'(k / 2) ||
            (PROJECTOR != 0 && domain_q == unzip_pkg::DOMAIN_KERNEL) ||
            (3'(k) < count_q && 12'(k) < pixels_left_q)) && block_there[k];
      end
      s0_ky_q   <= ky_q;
      s0_kx_q   <= kx_q;
      s0_off_q  <= block_off_q + ky_off_q + (PROJECTOR == 0 ? 16'd0 : part_off_q);
      s0_bank_q <= bank_q + part_bank;
    end
  end

  for (genvar k = 0; k < S; k++) begin : g_block_there
    logic [4:0] block;  // within 16/n
    assign block = 5'(part_q << log2_ports_q) + (log2_ports_q != 3'd0 ? 5'(k) : 5'd0);
    assign block_there[k] = PROJECTOR == 0 || domain_q != unzip_pkg::DOMAIN_CHANNELS ||
        !block_end_q ||
        block < words_end_q;
  end

  // ---- Stages 1 to 5: address sums, bank mapping, read in three cycles -------------------------------
  logic s1_valid_q, s2_valid_q, s3_valid_q, s4_valid_q, s5_valid_q;
  logic [1:0] s1_shift_q;
  logic [11:0] s1_in_h_q, s1_in_w_q;
  logic [S-1:0] s2_want, lane_ready;
  logic s5_job_last;

  logic [S-1:0] wraps;
  assign en = &lane_ready;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      s0_valid_q <= 1'b0;
      s1_valid_q <= 1'b0;
      s2_valid_q <= 1'b0;
      s3_valid_q <= 1'b0;
      s4_valid_q <= 1'b0;
      s5_valid_q <= 1'b0;
    end else begin
      s5_valid_q <= s4_valid_q;
      s4_valid_q <= s3_valid_q;
      s3_valid_q <= s2_valid_q && en;
      if (en) begin
        s0_valid_q <= read_en;
        s1_valid_q <= s0_valid_q;
        s2_valid_q <= s1_valid_q;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (en) begin
      s1_flags_q <= s0_flags_q;
      s1_shift_q <= s0_shift_q;
      s1_in_h_q  <= s0_in_h_q;
      s1_in_w_q  <= s0_in_w_q;
      s2_flags_q <= s1_flags_q;
      s3_flags_q <= s2_flags_q;
    end
    s4_flags_q <= s3_flags_q;
    s5_flags_q <= s4_flags_q;
  end

  for (genvar k = 0; k < S; k++) begin : g_bus
    // Position of the bus's pixel: output column, window's upper left corner, entry of its row.
    logic [11:0] ox_q, start_ox_q, start_ox;
    logic signed [13:0] iy_q, ix_q, start_iy_q, start_ix_q, start_iy, start_ix;
    logic [15:0] addr_q, start_addr_q, start_addr;
    logic start_wraps, wrap, next_same;
    logic signed [13:0] line_ix;

    // The first pixels lie beside each other, or at a line's end and the next one's start. Along the
    // channels the buses may take blocks of one pixel.
    assign next_same = PortsMax > 1 && next_log2_ports_q > 3'(k / 2);
    assign start_wraps = k != 0 && !next_same &&
        (PROJECTOR == 0 || next_domain_q != unzip_pkg::DOMAIN_KERNEL) &&
        13'(next_out_x_q) + 13'(k) >= 13'(next_out_w_q);
    assign start_ox = next_out_x_q + (next_same ? 12'd0 : 12'(k)) -
        (start_wraps ? next_out_w_q : 12'd0);
    assign start_ix = next_ix_q + (next_same ? 14'd0 : 14'(times_stride(
        12'(k), next_stride_w_q
    ))) - (start_wraps ? next_line_step_q : 14'sd0);
    assign start_iy = next_iy_q + (start_wraps ? 14'(next_stride_h_q) : 14'd0);
    assign start_addr = next_src_base_q +
        (next_same ? (k[0] ? next_src_block_q : 16'd0) + (k[1] ? next_src_block_q << 1 : 16'd0) :
         start_wraps ? {2'b00, next_row_stride_q} : 16'd0);
    assign wraps[k] = ox_q >= s0_edge_q;
    if (PROJECTOR != 0) begin : g_kernel_wraps
      // The first column of a line, without the tile's first column.
      logic signed [13:0] line_ix_q;
      always_ff @(posedge clk_i) begin
        if (start_q && en) begin
          line_ix_q <= next_line_ix_q + 14'(times_stride(12'(k), next_stride_w_q));
        end
      end
      assign line_ix = line_ix_q;
      assign wrap = s0_kernel_q ? wraps[0] : wraps[k];
    end else begin : g_wraps
      assign line_ix = '0;
      assign wrap = wraps[k];
    end

    always_ff @(posedge clk_i) begin
      if (start_q && en) begin
        start_ox_q <= start_ox;
        start_ix_q <= start_ix;
        start_iy_q <= start_iy;
        start_addr_q <= start_addr;
        ox_q <= start_ox;
        ix_q <= start_ix;
        iy_q <= start_iy;
        addr_q <= start_addr;
      end else if (s0_valid_q && en) begin
        if (s0_chunk_last_q) begin
          ox_q   <= start_ox_q;
          ix_q   <= start_ix_q;
          iy_q   <= start_iy_q;
          addr_q <= start_addr_q;
        end else if (s0_row_done_q) begin
          ox_q <= ox_q + (wrap ? s0_wrap_x_q : 12'(s0_groups_q));
          ix_q <= ix_q + (wrap ? s0_wrap_step_q : s0_row_step_q);
          if (wrap) begin
            iy_q   <= iy_q + 14'(s0_stride_h_q);
            addr_q <= addr_q + s0_row_stride_q;
          end
          if (PROJECTOR != 0 && s0_kernel_q && wrap) begin
            ox_q <= 12'(k);
            ix_q <= line_ix;
          end
        end
      end
    end

    logic s1_live_q, s1_inside, s3_zero_q, s4_zero_q, s5_zero_q;
    logic s2_read_q;  // asks the memory, else zeros
    logic signed [13:0] s1_iy_q, s1_ix_q;
    logic [13:0] s1_x;
    logic [15:0] s1_addr_q, s2_addr_q;
    logic [BANK_W-1:0] s1_bank_q, s2_bank_q;
    logic s0_same_q;  // a block of bus 0's pixel

    assign s1_x = s1_ix_q;

    assign s1_inside = s1_iy_q >= 0 && s1_iy_q < $signed(
        {2'b00, s1_in_h_q}
    ) && s1_ix_q >= 0 && s1_ix_q < $signed(
        {2'b00, s1_in_w_q}
    );

    always_ff @(posedge clk_i) begin
      if (!rst_ni) begin
        s2_read_q <= 1'b0;
      end else if (en) begin
        s2_read_q <= s1_valid_q && s1_live_q && s1_inside;
      end
      if (start_q && en) s0_same_q <= next_same;
      if (en) begin
        s1_live_q <= s0_live_q[k];
        s1_bank_q <= s0_bank_q + (s0_same_q ? BANK_W'(k) : BANK_W'(0));
        s1_addr_q <= addr_q + s0_off_q;
        s1_iy_q   <= iy_q + 14'(s0_ky_q);
        s1_ix_q   <= ix_q + 14'(s0_kx_q);

        s2_addr_q <= s1_addr_q + unzip_pkg::act_column(s1_x, s1_shift_q, BANK_W);
        s2_bank_q <= s1_bank_q + BANK_W'(s1_x >> s1_shift_q);

        s3_zero_q <= !s2_read_q;
      end
      s4_zero_q <= s3_zero_q;
      s5_zero_q <= s4_zero_q;
    end

    assign read_bank_o[k*BANK_W+:BANK_W] = s2_bank_q;
    assign read_addr_o[k*ADDR_W+:ADDR_W] = s2_addr_q[ADDR_W-1:0];

    logic [T_P*DW-1:0] word;

    if (S == 1) begin : g_alone
      assign s2_want[k] = s2_read_q;
      assign read_valid_o[k] = s2_want[k];
      assign lane_ready[k] = read_ready_i;
      assign word = read_data_i;
    end else begin : g_turns
      // A bus that was granted its read before the others keeps the word.
      logic got_q, s3_kept_q, s4_kept_q, s5_kept_q;
      logic [2:0] late_q;
      logic [T_P*DW-1:0] kept_q;
      logic [S-1:0] earlier;  // buses in front of this one that ask for the same bank
      for (genvar j = 0; j < S; j++) begin : g_before
        assign earlier[j] = j < k && s2_want[j] && read_bank_o[j*BANK_W+:BANK_W] == s2_bank_q;
      end
      assign s2_want[k] = s2_read_q && !got_q;
      assign read_valid_o[k] = s2_want[k] && earlier == '0;
      assign lane_ready[k] = !s2_want[k] || (read_valid_o[k] && read_ready_i);

      always_ff @(posedge clk_i) begin
        got_q  <= rst_ni && !en && (got_q || (read_valid_o[k] && read_ready_i));
        late_q <= {late_q[1:0], !en && read_valid_o[k] && read_ready_i};
        if (late_q[2]) kept_q <= read_data_i[k*T_P*DW+:T_P*DW];
        if (en) s3_kept_q <= got_q;
        s4_kept_q <= s3_kept_q;
        s5_kept_q <= s4_kept_q;
      end

      assign word = s5_kept_q ? kept_q : read_data_i[k*T_P*DW+:T_P*DW];
    end

    assign word_data_o[k*T_P*DW+:T_P*DW] = s5_zero_q ? '0 : word;

    `UNZIP_ASSERT(AddressInside, !read_valid_o[k] || int'(s2_addr_q) < ACT_DEPTH, clk_i, rst_ni)
  end

  assign conflict_o = !en;

  assign word_valid_o = s5_valid_q;
  assign {word_domain_o, word_log2_codes_o, word_part_o, word_part_last_o, word_single_o,
          word_step_o, word_row_o, word_bank_o, word_fresh_o, word_first_o, word_last_o,
          word_chunk_last_o, word_tile_last_o, s5_job_last} = s5_flags_q;
  assign reads_there = s0_valid_q || s1_valid_q || s2_valid_q || s3_valid_q || s4_valid_q ||
      s5_valid_q;

  assign done_o = s5_valid_q && s5_job_last;
  assign busy_o = next_valid_q || run_q || reads_there || (PROJECTOR != 0 && projector_busy_i);

  // The entry address counts modulo 2^16; the compiler keeps every address that is read inside.
  `UNZIP_ASSERT(GroupsFit, !start || (next_groups_q != 3'd0 && int'(next_groups_q) <= S), clk_i,
                rst_ni)
  `UNZIP_ASSERT(
      LineHoldsRow,
      !start || next_domain_q == unzip_pkg::DOMAIN_KERNEL || 12'(next_groups_q) <= next_out_w_q,
      clk_i, rst_ni)
  `UNZIP_ASSERT(StepFits, !step_en || domain_q == unzip_pkg::DOMAIN_KERNEL || int'(step_q) < D,
                clk_i, rst_ni)

endmodule
