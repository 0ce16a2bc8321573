// SPDX-License-Identifier: Apache-2.0
// Window reader: walks the output pixels of a tile and reads the input word of every step.
//
// Mathematics: output pixel (oy, ox) takes, for tap (ky, kx) of channel block b, the word
//   x[b][oy*stride_h - pad_top + ky][ox*stride_w - pad_left + kx], or zeros outside the input
// Order (the same as the weights generator's)
//   for each chunk: for each pixel in raster order: for each block of the chunk: for each tap of it
//
// Interface: a job stream (one tile a job), a read port to the activation memory, the operand stream
// to the PE array (without back-pressure: the tile's accumulator bank is free before it starts),
// chunk_* to take the chunks of weights. done_o pulses when the tile's last read has returned.
// Throughput: one step a cycle, without a bubble between pixels, chunks and tiles, as long as weights
// are there, an accumulator bank is free and the memory grants the reads.
`include "unzip_assert.svh"
`include "unzip_limits.svh"

module unzip_window_reader #(
    parameter int T_P = 8,  // activations of a word
    parameter int T_R = 16,  // accumulator rows per tile
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
    input  logic [      11:0] job_pixels_i,        // 1 to T_R, any number with row0
    output logic              done_o,
    output logic              busy_o,

    output logic              read_valid_o,
    input  logic              read_ready_i,
    output logic [BANK_W-1:0] read_bank_o,
    output logic [ADDR_W-1:0] read_addr_o,
    input  logic [T_P*DW-1:0] read_data_i,

    input  logic chunk_valid_i,
    output logic chunk_take_o,

    output logic                     operand_valid_o,
    output logic [T_P*OPERAND_W-1:0] operand_data_o,
    output logic [       STEP_W-1:0] operand_step_o,
    output logic [       ROW_AW-1:0] operand_row_o,
    output logic                     operand_bank_o,
    output logic                     operand_fresh_o,
    output logic                     operand_first_o,
    output logic                     operand_last_o,
    output logic                     operand_chunk_last_o,
    output logic                     operand_tile_last_o,

    input logic tile_release_i,  // the post stage has drained a bank

    // what a cycle was used for
    output logic waits_weights_o,
    output logic waits_post_o,
    output logic conflict_o
);

  `UNZIP_LIMIT_T_P
  `UNZIP_LIMIT_T_R
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
  logic [3:0] next_kernel_h_q, next_kernel_w_q, next_pad_left_q;
  logic [11:0] next_blocks_q, next_src_row_q, next_in_h_q, next_in_w_q;
  logic [5:0] next_chunk_blocks_q, next_chunk_taps_q;
  logic [15:0] next_src_base_q, next_src_block_q;
  logic [1:0] next_src_shift_q;
  logic [BANK_W-1:0] next_src_bank_q;
  logic [2:0] next_stride_w_q, next_stride_h_q;
  logic next_row0_q, next_reduce_first_q, next_reduce_last_q;
  logic [11:0] next_out_x_q, next_out_w_q, next_pixels_q;
  logic signed [13:0] next_iy_q, next_ix_q;

  assign job_ready_o = !next_valid_q;

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
      next_kernel_h_q <= job_kernel_h_i;
      next_kernel_w_q <= job_kernel_w_i;
      next_pad_left_q <= job_pad_left_i;
      next_blocks_q <= job_blocks_i;
      next_src_row_q <= job_src_row_i;
      next_in_h_q <= job_in_h_i;
      next_in_w_q <= job_in_w_i;
      next_chunk_blocks_q <= job_chunk_blocks_i;
      next_chunk_taps_q <= job_chunk_taps_i;
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
      next_iy_q <= times_stride(job_out_y_i, job_stride_h_i) - 14'(job_pad_top_i);
      next_ix_q <= times_stride(job_out_x_i, job_stride_w_i) - 14'(job_pad_left_i);
    end
  end

  // ---- Present tile ------------------------------------------------------------------------------
  logic [3:0] kernel_h_q, kernel_w_q, pad_left_q;
  logic [11:0] blocks_q, src_row_q, in_h_q, in_w_q, out_x_q, out_w_q, pixels_q;
  logic [5:0] chunk_blocks_q, chunk_taps_q;
  logic [15:0] src_base_q, src_block_q, row_stride_q;
  logic [1:0] src_shift_q;
  logic [2:0] stride_h_q, stride_w_q;
  logic row0_q, reduce_last_q;
  logic signed [13:0] start_iy_q, start_ix_q;

  // Position. "chunk" registers hold the first block and tap of the chunk.
  logic [3:0] ky_q, kx_q, chunk_ky_q, chunk_kx_q;
  logic [5:0] tap_q, block_in_chunk_q;
  logic [11:0] block_q, chunk_block_q, pixel_q, ox_q;
  logic signed [13:0] iy_q, ix_q;  // window's upper left corner
  logic [15:0] pixel_addr_q, block_off_q, chunk_block_off_q, ky_off_q, chunk_ky_off_q;
  logic [BANK_W-1:0] bank_q, chunk_bank_q;
  logic [STEP_W-1:0] step_q;
  logic first_chunk_q, chunk_open_q, acc_bank_q;
  logic [1:0] banks_used_q;

  logic kx_last, tap_end, tap_last, block_last, row_done, pixel_last, chunk_last, tile_last;
  logic advance, en, can_step, bank_there;
  logic [3:0] ky_next, kx_next;
  logic [15:0] ky_off_next;

  assign kx_last = kx_q + 1'b1 == kernel_w_q;
  assign tap_end = kx_last && ky_q + 1'b1 == kernel_h_q;
  assign tap_last = tap_end || tap_q + 1'b1 == chunk_taps_q;
  assign block_last = block_in_chunk_q + 1'b1 == chunk_blocks_q ||
      block_q + 1'b1 == blocks_q || !tap_end;
  assign row_done = tap_last && block_last;  // all steps of the pixel in this chunk
  assign pixel_last = pixel_q + 1'b1 == pixels_q;
  assign chunk_last = row_done && pixel_last;
  assign tile_last = chunk_last && tap_end && block_q + 1'b1 == blocks_q;
  assign kx_next = kx_last ? '0 : kx_q + 1'b1;
  assign ky_next = tap_end ? '0 : kx_last ? ky_q + 1'b1 : ky_q;
  assign ky_off_next = tap_end ? '0 : kx_last ? ky_off_q + 16'(src_row_q) : ky_off_q;

  assign can_step = run_q && (chunk_open_q || chunk_valid_i);
  assign step_en = can_step && en;
  assign advance = step_en;
  assign chunk_take_o = step_en && !chunk_open_q;
  assign bank_there = banks_used_q != 2'd2 || !next_reduce_first_q;
  assign start = next_valid_q && bank_there && (!run_q || (step_en && tile_last));
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
      kernel_h_q <= next_kernel_h_q;
      kernel_w_q <= next_kernel_w_q;
      pad_left_q <= next_pad_left_q;
      blocks_q <= next_blocks_q;
      src_row_q <= next_src_row_q;
      in_h_q <= next_in_h_q;
      in_w_q <= next_in_w_q;
      chunk_blocks_q <= next_chunk_blocks_q;
      chunk_taps_q <= next_chunk_taps_q;
      src_base_q <= next_src_base_q;
      src_block_q <= next_src_block_q;
      src_shift_q <= next_src_shift_q;
      stride_h_q <= next_stride_h_q;
      stride_w_q <= next_stride_w_q;
      row0_q <= next_row0_q;
      reduce_last_q <= next_reduce_last_q;
      out_x_q <= next_out_x_q;
      out_w_q <= next_out_w_q;
      pixels_q <= next_pixels_q;
      start_iy_q <= next_iy_q;
      start_ix_q <= next_ix_q;
      row_stride_q <= {2'b00, times_stride(next_src_row_q, next_stride_h_q)};

      ky_q <= '0;
      kx_q <= '0;
      chunk_ky_q <= '0;
      chunk_kx_q <= '0;
      ky_off_q <= '0;
      chunk_ky_off_q <= '0;
      tap_q <= '0;
      block_in_chunk_q <= '0;
      block_q <= '0;
      chunk_block_q <= '0;
      block_off_q <= '0;
      chunk_block_off_q <= '0;
      bank_q <= next_src_bank_q;
      chunk_bank_q <= next_src_bank_q;
      pixel_q <= '0;
      ox_q <= next_out_x_q;
      iy_q <= next_iy_q;
      ix_q <= next_ix_q;
      pixel_addr_q <= next_src_base_q;
      step_q <= '0;
      first_chunk_q <= next_reduce_first_q;
    end else if (advance) begin
      step_q   <= step_q + 1'b1;
      tap_q    <= tap_q + 1'b1;
      kx_q     <= kx_next;
      ky_q     <= ky_next;
      ky_off_q <= ky_off_next;
      if (tap_last) begin
        tap_q <= '0;
        kx_q <= chunk_kx_q;
        ky_q <= chunk_ky_q;
        ky_off_q <= chunk_ky_off_q;
        block_q <= block_q + 1'b1;
        block_in_chunk_q <= block_in_chunk_q + 1'b1;
        block_off_q <= block_off_q + src_block_q;
        bank_q <= bank_q + 1'b1;
      end
      if (row_done) begin
        step_q <= '0;
        block_q <= chunk_block_q;
        block_in_chunk_q <= '0;
        block_off_q <= chunk_block_off_q;
        bank_q <= chunk_bank_q;
        pixel_q <= pixel_q + 1'b1;
        ox_q <= ox_q + 1'b1;
        ix_q <= ix_q + 14'(stride_w_q);
        if (ox_q + 1'b1 == out_w_q) begin
          ox_q <= '0;
          ix_q <= 14'd0 - 14'(pad_left_q);
          iy_q <= iy_q + 14'(stride_h_q);
          pixel_addr_q <= pixel_addr_q + row_stride_q;
        end
      end
      if (chunk_last) begin
        pixel_q <= '0;
        ox_q <= out_x_q;
        iy_q <= start_iy_q;
        ix_q <= start_ix_q;
        pixel_addr_q <= src_base_q;
        first_chunk_q <= 1'b0;
        kx_q <= kx_next;
        ky_q <= ky_next;
        ky_off_q <= ky_off_next;
        chunk_kx_q <= kx_next;
        chunk_ky_q <= ky_next;
        chunk_ky_off_q <= ky_off_next;
        if (tap_end) begin
          block_q <= block_q + 1'b1;
          chunk_block_q <= block_q + 1'b1;
          block_off_q <= block_off_q + src_block_q;
          chunk_block_off_q <= block_off_q + src_block_q;
          bank_q <= bank_q + 1'b1;
          chunk_bank_q <= bank_q + 1'b1;
        end
      end
    end
  end

  // ---- Stages 1 to 3: address sums, bank mapping, read --------------------------------------------
  localparam int FlagW = STEP_W + ROW_AW + 7;
  logic s1_valid_q, s2_valid_q, s3_valid_q;
  logic [FlagW-1:0] s0_flags, s1_flags_q, s2_flags_q, s3_flags_q;
  logic [15:0] s1_row_addr_q;
  logic signed [13:0] s1_iy_q, s1_ix_q;
  logic [BANK_W-1:0] s1_bank_q, s2_bank_q;
  logic [15:0] s2_addr_q;
  logic s2_zero_q, s3_zero_q, s3_job_last;
  logic [1:0] s1_shift_q;
  logic [11:0] s1_in_h_q, s1_in_w_q;

  assign s0_flags = {
    step_q,
    row0_q ? '0 : pixel_q[ROW_AW-1:0],
    acc_bank_q,
    first_chunk_q && (!row0_q || pixel_q == '0),
    step_q == '0,
    row_done,
    chunk_last,
    tile_last && reduce_last_q,
    tile_last
  };

  assign en = !s2_valid_q || s2_zero_q || read_ready_i;

  logic [13:0] s1_x;
  assign s1_x = s1_ix_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      s1_valid_q <= 1'b0;
      s2_valid_q <= 1'b0;
      s3_valid_q <= 1'b0;
    end else begin
      s3_valid_q <= s2_valid_q && en;
      if (en) begin
        s1_valid_q <= step_en;
        s2_valid_q <= s1_valid_q;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (en) begin
      s1_flags_q <= s0_flags;
      s1_row_addr_q <= pixel_addr_q + block_off_q + ky_off_q;
      s1_iy_q <= iy_q + 14'(ky_q);
      s1_ix_q <= ix_q + 14'(kx_q);
      s1_bank_q <= bank_q;
      s1_shift_q <= src_shift_q;
      s1_in_h_q <= in_h_q;
      s1_in_w_q <= in_w_q;

      s2_flags_q <= s1_flags_q;
      s2_addr_q <= s1_row_addr_q + unzip_pkg::act_column(s1_x, s1_shift_q, BANK_W);
      s2_bank_q <= s1_bank_q + BANK_W'(s1_x >> s1_shift_q);
      s2_zero_q <= s1_iy_q < 0 || s1_iy_q >= $signed(
          {2'b00, s1_in_h_q}
      ) || s1_ix_q < 0 || s1_ix_q >= $signed(
          {2'b00, s1_in_w_q}
      );

      s3_flags_q <= s2_flags_q;
      s3_zero_q <= s2_zero_q;
    end
  end

  assign read_valid_o = s2_valid_q && !s2_zero_q;
  assign read_bank_o = s2_bank_q;
  assign read_addr_o = s2_addr_q[ADDR_W-1:0];
  assign conflict_o = !en;

  assign operand_valid_o = s3_valid_q;
  assign {operand_step_o, operand_row_o, operand_bank_o, operand_fresh_o, operand_first_o,
          operand_last_o, operand_chunk_last_o, operand_tile_last_o, s3_job_last} = s3_flags_q;

  for (genvar l = 0; l < T_P; l++) begin : g_lane
    assign operand_data_o[l*OPERAND_W+:OPERAND_W] = s3_zero_q ? '0 : OPERAND_W'($signed(
        read_data_i[l*DW+:DW]
    ));
  end

  assign done_o = s3_valid_q && s3_job_last;
  assign busy_o = next_valid_q || run_q || s1_valid_q || s2_valid_q || s3_valid_q;

  // The entry address counts modulo 2^16; the compiler keeps every address that is read inside.
  `UNZIP_ASSERT(AddressInside, !read_valid_o || int'(s2_addr_q) < ACT_DEPTH, clk_i, rst_ni)
  `UNZIP_ASSERT(StepFits, !step_en || int'(step_q) < D, clk_i, rst_ni)

endmodule
