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
//
// Interface: a job stream (one tile a job), S read ports to the activation memory, the operand stream
// to the PE array (without back-pressure: the tile's accumulator bank is free before it starts),
// chunk_* to take the chunks of weights. done_o pulses when the tile's last read has returned.
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
    parameter int OPERAND_W = DW + 4,  // bits of an operand
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

    output logic                       operand_valid_o,
    output logic [S*T_P*OPERAND_W-1:0] operand_data_o,
    output logic [         STEP_W-1:0] operand_step_o,
    output logic [         ROW_AW-1:0] operand_row_o,
    output logic                       operand_bank_o,
    output logic                       operand_fresh_o,
    output logic                       operand_first_o,
    output logic                       operand_last_o,
    output logic                       operand_chunk_last_o,
    output logic                       operand_tile_last_o,

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
  `UNZIP_LIMIT_OPERAND_W
  `UNZIP_LIMIT_ACT_BANKS
  `UNZIP_LIMIT_ACT_DEPTH

  // By additions, so that no multiplier block is spent on it.
  function automatic logic [13:0] times_stride(input logic [11:0] value, input logic [2:0] stride);
    times_stride = (stride[0] ? 14'(value) : 14'd0) + (stride[1] ? {1'b0, value, 1'b0} : 14'd0) +
        (stride[2] ? {value, 2'b00} : 14'd0);
  endfunction

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
  logic signed [13:0] next_iy_q, next_ix_q, next_row_step_q, next_line_step_q;

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
      next_blocks_before_q <= job_blocks_i - 12'd2;
      next_ky_one_q <= job_kernel_h_i == 4'd1;
      next_kx_one_q <= job_kernel_w_i == 4'd1;
      next_blocks_one_q <= job_blocks_i == 12'd1;
      next_chunk_blocks_one_q <= job_chunk_blocks_i == 6'd1;
      next_chunk_taps_one_q <= job_chunk_taps_i == 6'd1;
      next_rows_one_q <= job_pixels_i <= (S > 1 ? 12'(job_groups_i) : 12'd1);
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
      next_pixels_q <= job_pixels_i;
      next_groups_q <= S > 1 ? job_groups_i : 3'd1;
      next_row_stride_q <= times_stride(job_src_row_i, job_stride_h_i);
      next_row_step_q <= times_stride(S > 1 ? 12'(job_groups_i) : 12'd1, job_stride_w_i);
      next_line_step_q <= times_stride(job_out_w_i, job_stride_w_i);
      next_iy_q <= times_stride(job_out_y_i, job_stride_h_i) - 14'(job_pad_top_i);
      next_ix_q <= times_stride(job_out_x_i, job_stride_w_i) - 14'(job_pad_left_i);
    end
  end

  // ---- Present tile: its steps -------------------------------------------------------------------
  logic [3:0] ky_before_q, kx_before_q;
  logic [11:0] blocks_before_q, src_row_q, pixels_q;
  logic [2:0] groups_q;
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

  logic tap_end, tap_last, block_last, row_done, chunk_last, tile_last;
  logic en, can_step, bank_there;
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

  assign can_step = run_q && (chunk_open_q || chunk_valid_i);
  assign step_en = can_step && en;
  assign chunk_take_o = step_en && !chunk_open_q;
  assign bank_there = banks_used_q != 2'd2 || !next_reduce_first_q;
  assign start = next_valid_q && bank_there && !run_q;
  assign waits_weights_o = run_q && !can_step;
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
      if (step_en) chunk_open_q <= !chunk_last;
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
      groups_q <= next_groups_q;

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
    end else if (step_en) begin
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
        block_off_q <= block_off_q + src_block_q;
        bank_q <= bank_q + 1'b1;
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
        pixels_left_q <= pixels_left_q - 12'(groups_q);
        row_last_q <= pixels_left_q <= {8'b0, groups_q, 1'b0};
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
          block_off_q <= block_off_q + src_block_q;
          chunk_block_off_q <= block_off_q + src_block_q;
          bank_q <= bank_q + 1'b1;
          chunk_bank_q <= bank_q + 1'b1;
        end
      end
    end
  end

  // ---- Stage 0: the step, and the pixels that it reads for --------------------------------------------
  localparam int FlagW = STEP_W + ROW_AW + 7;
  logic s0_valid_q, s0_row_done_q, s0_chunk_last_q;
  logic [FlagW-1:0] s0_flags_q, s1_flags_q, s2_flags_q, s3_flags_q, s4_flags_q;
  logic [FlagW-1:0] s5_flags_q;
  logic [S-1:0] s0_live_q;
  logic [3:0] s0_ky_q, s0_kx_q;
  logic [15:0] s0_off_q;
  logic [BANK_W-1:0] s0_bank_q;

  // What stage 0 needs of a tile, kept while its steps are there.
  logic [11:0] s0_in_h_q, s0_in_w_q;
  logic [11:0] s0_edge_q, s0_wrap_x_q;  // the line's end: from here on, by so much back
  logic [2:0] s0_stride_h_q, s0_groups_q;
  logic [ 1:0] s0_shift_q;
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
      s0_edge_q <= next_out_w_q - 12'(next_groups_q);
      s0_wrap_x_q <= 12'(next_groups_q) - next_out_w_q;
      s0_row_stride_q <= {2'b00, next_row_stride_q};
      s0_row_step_q <= next_row_step_q;
      s0_wrap_step_q <= next_row_step_q - next_line_step_q;
    end
    if (en) begin
      s0_row_done_q <= row_done;
      s0_chunk_last_q <= chunk_last;
      s0_flags_q <= {
        step_q,
        row_q,
        acc_bank_q,
        first_chunk_q && (!row0_q || row_first_q),
        step_first_q,
        row_done,
        chunk_last,
        tile_last && reduce_last_q,
        tile_last
      };
      for (int k = 0; k < S; k++) begin
        s0_live_q[k] <= k == 0 || (3'(k) < groups_q && 12'(k) < pixels_left_q);
      end
      s0_ky_q   <= ky_q;
      s0_kx_q   <= kx_q;
      s0_off_q  <= block_off_q + ky_off_q;
      s0_bank_q <= bank_q;
    end
  end

  // ---- Stages 1 to 5: address sums, bank mapping, read in three cycles -------------------------------
  logic s1_valid_q, s2_valid_q, s3_valid_q, s4_valid_q, s5_valid_q;
  logic [BANK_W-1:0] s1_bank_q;
  logic [1:0] s1_shift_q;
  logic [11:0] s1_in_h_q, s1_in_w_q;
  logic [S-1:0] s2_want, lane_ready;
  logic s5_job_last;

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
        s0_valid_q <= step_en;
        s1_valid_q <= s0_valid_q;
        s2_valid_q <= s1_valid_q;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (en) begin
      s1_flags_q <= s0_flags_q;
      s1_bank_q  <= s0_bank_q;
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
    logic start_wraps, wraps;

    // The first pixels lie beside each other, or at a line's end and the next one's start.
    assign start_wraps = k != 0 && 13'(next_out_x_q) + 13'(k) >= 13'(next_out_w_q);
    assign start_ox = next_out_x_q + 12'(k) - (start_wraps ? next_out_w_q : 12'd0);
    assign start_ix = next_ix_q + 14'(times_stride(
        12'(k), next_stride_w_q
    )) - (start_wraps ? next_line_step_q : 14'sd0);
    assign start_iy = next_iy_q + (start_wraps ? 14'(next_stride_h_q) : 14'd0);
    assign start_addr = next_src_base_q + (start_wraps ? {2'b00, next_row_stride_q} : 16'd0);
    assign wraps = ox_q >= s0_edge_q;

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
          ox_q <= ox_q + (wraps ? s0_wrap_x_q : 12'(s0_groups_q));
          ix_q <= ix_q + (wraps ? s0_wrap_step_q : s0_row_step_q);
          if (wraps) begin
            iy_q   <= iy_q + 14'(s0_stride_h_q);
            addr_q <= addr_q + s0_row_stride_q;
          end
        end
      end
    end

    logic s1_live_q, s1_inside, s3_zero_q, s4_zero_q, s5_zero_q;
    logic s2_read_q;  // asks the memory, else zeros
    logic signed [13:0] s1_iy_q, s1_ix_q;
    logic [13:0] s1_x;
    logic [15:0] s1_addr_q, s2_addr_q;
    logic [BANK_W-1:0] s2_bank_q;

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
      if (en) begin
        s1_live_q <= s0_live_q[k];
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

    for (genvar l = 0; l < T_P; l++) begin : g_lane
      assign operand_data_o[(k*T_P+l)*OPERAND_W+:OPERAND_W] = s5_zero_q ? '0 : OPERAND_W'($signed(
          word[l*DW+:DW]
      ));
    end

    `UNZIP_ASSERT(AddressInside, !read_valid_o[k] || int'(s2_addr_q) < ACT_DEPTH, clk_i, rst_ni)
  end

  assign conflict_o = !en;

  assign operand_valid_o = s5_valid_q;
  assign {operand_step_o, operand_row_o, operand_bank_o, operand_fresh_o, operand_first_o,
          operand_last_o, operand_chunk_last_o, operand_tile_last_o, s5_job_last} = s5_flags_q;

  assign done_o = s5_valid_q && s5_job_last;
  assign busy_o = next_valid_q || run_q || s0_valid_q || s1_valid_q || s2_valid_q || s3_valid_q ||
      s4_valid_q || s5_valid_q;

  // The entry address counts modulo 2^16; the compiler keeps every address that is read inside.
  `UNZIP_ASSERT(GroupsFit, !start || (next_groups_q != 3'd0 && int'(next_groups_q) <= S), clk_i,
                rst_ni)
  `UNZIP_ASSERT(LineHoldsRow, !start || 12'(next_groups_q) <= next_out_w_q, clk_i, rst_ni)
  `UNZIP_ASSERT(StepFits, !step_en || int'(step_q) < D, clk_i, rst_ni)

endmodule
