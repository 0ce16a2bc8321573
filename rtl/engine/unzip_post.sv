// SPDX-License-Identifier: Apache-2.0
// Post-processing: drains a tile's accumulators, adds a residual, scales and clamps, pools, and writes
// the outputs.
//
// Mathematics, per output channel with parameters (bias, m) and per layer s, lo, hi, and m_r, t
//   y = clamp(((acc + bias)*m + ((r*m_r) << t) + 2^(s-1)) >> s, lo, hi)
//   with an arithmetic shift, no 2^(s-1) when s = 0, r = 0 for a job without a residual;
//   no bit of the sum is lost. Filters from `filters` on are written 0. Then max pooling, if any.
//
// Parameter word (one group of Q channels): channel l has PARAM_W = ACC_W + 16 bits from bit
// PARAM_W*l on, the bias in the lowest ACC_W of them and m in the 16 above.
//
// Interface: a job stream (one tile a job), the drain port of the PE array, a read port to the
// parameter memory (data one cycle after param_re_o) and write ports to the activation memory that are
// always granted. A job with a residual takes its words from unzip_residual, in the order of the drain,
// which waits for them; set_residual_i takes m_r and t while no job is under way. tile_done_i counts the
// tiles whose accumulators are complete, tile_release_o gives a bank back. done_o pulses when the
// tile's last write is visible.
// Order: pixels in raster order, for each the groups of Q channels. A group is a part of a word of T_P
// channels or WORDS whole ones, of neighbouring channel blocks: port p writes that in a bank whose number
// is p modulo WORDS. Words past the filters are not written then.
// An accumulator row holds `groups` pixels (input-selective PEs): pixel k of it from PE k*pitch on,
// see unzip_pe_array.
// Throughput: Q channels a cycle; about 17 cycles between the end of a tile and the start of the next.
`include "unzip_assert.svh"
`include "unzip_limits.svh"

module unzip_post #(
    parameter int T_P = 8,  // activations of a word
    parameter int T_C = 8,  // PEs
    parameter int T_R = 16,  // accumulator rows per tile
    parameter int S = 1,  // most groups of PEs
    parameter int G = 1,  // weight words generated side by side: the pitch is a multiple
    parameter int Q = 4,  // channels side by side: a divisor of T_C and T_P, 2*T_P or 4*T_P
    parameter int DW = 8,  // bits of an activation
    localparam int ACC_W = DW == 8 ? 32 : 48,  // bits of an accumulator
    parameter int ACT_BANKS = 2,
    parameter int ACT_DEPTH = 512,
    parameter int PARAM_DEPTH = 64,
    parameter int POOL_W = 16,  // widest row that can be pooled with all T_C channels
    localparam int BANK_W = $clog2(ACT_BANKS),
    localparam int ADDR_W = $clog2(ACT_DEPTH),
    localparam int ROW_AW = $clog2(T_R),
    localparam int PARTS = Q < T_P ? T_P / Q : 1,  // groups of a word
    localparam int WORDS = Q > T_P ? Q / T_P : 1,  // words of a group
    localparam int PARAM_AW = $clog2(PARAM_DEPTH),
    localparam int PARAM_W = ACC_W + 16,
    localparam int GROUP_W = $clog2(T_C / Q + T_P / Q + 1)
) (
    input logic clk_i,
    input logic rst_ni,

    input  logic                job_valid_i,
    output logic                job_ready_o,
    input  logic [         8:0] job_filters_i,
    input  logic [PARAM_AW-1:0] job_param_addr_i,
    input  logic [         5:0] job_scale_shift_i,
    input  logic [        15:0] job_clamp_lo_i,
    input  logic [        15:0] job_clamp_hi_i,
    input  logic [        11:0] job_out_x_i,
    input  logic [        11:0] job_out_y_i,
    input  logic [        11:0] job_out_h_i,
    input  logic [        11:0] job_out_w_i,
    input  logic [        11:0] job_pixels_i,       // pixels to drain, 1 to T_R*groups
    input  logic [         2:0] job_groups_i,       // groups of PEs, 1 to S
    input  logic [        15:0] job_dst_base_i,
    input  logic [        11:0] job_dst_row_i,
    input  logic [        15:0] job_dst_block_i,
    input  logic [         1:0] job_dst_shift_i,
    input  logic [  BANK_W-1:0] job_dst_bank_i,
    input  logic [         4:0] job_dst_lane_i,     // below PARTS
    input  logic [ GROUP_W-1:0] job_dst_groups_i,
    input  logic [         1:0] job_pool_kernel_i,  // 0: no pooling
    input  logic [         1:0] job_pool_stride_i,
    input  logic [         1:0] job_pool_pad_i,
    input  logic [        11:0] job_pool_h_i,
    input  logic [        11:0] job_pool_w_i,
    input  logic                job_residual_i,     // 1: adds the residual
    output logic                done_o,
    output logic                busy_o,

    input logic        set_residual_i,
    input logic [15:0] set_res_scale_i,  // m_r
    input logic [ 4:0] set_res_lift_i,   // t

    input  logic                    residual_valid_i,
    output logic                    residual_ready_o,
    input  logic [WORDS*T_P*DW-1:0] residual_data_i,

    input  logic                 tile_done_i,
    output logic                 tile_release_o,
    output logic                 drain_re_o,
    output logic                 drain_bank_o,
    output logic [   ROW_AW-1:0] drain_row_o,
    input  logic [T_C*ACC_W-1:0] drain_data_i,

    output logic                 param_re_o,
    output logic [ PARAM_AW-1:0] param_addr_o,
    input  logic [Q*PARAM_W-1:0] param_data_i,

    output logic [       WORDS-1:0] write_valid_o,
    output logic [WORDS*BANK_W-1:0] write_bank_o,
    output logic [WORDS*ADDR_W-1:0] write_addr_o,
    output logic [       PARTS-1:0] write_mask_o,
    output logic [WORDS*T_P*DW-1:0] write_data_o
);

  `UNZIP_LIMIT_T_P
  `UNZIP_LIMIT_T_C
  `UNZIP_LIMIT_T_R
  `UNZIP_LIMIT_S
  `UNZIP_LIMIT_G
  `UNZIP_LIMIT_S_T_C
  `UNZIP_LIMIT_Q_T_P
  `UNZIP_LIMIT_Q_T_C
  `UNZIP_LIMIT_DW
  `UNZIP_LIMIT_ACT_BANKS
  `UNZIP_LIMIT_Q_ACT_BANKS
  `UNZIP_LIMIT_ACT_DEPTH
  `UNZIP_LIMIT_PARAM_DEPTH
  `UNZIP_LIMIT_POOL_W

  localparam int ArrayGroups = T_C / Q;
  localparam int MaxGroups = ArrayGroups + T_P / Q;  // a tile may zero the rest of its last block
  localparam int NumberW = WORDS > 1 ? $clog2(WORDS) : 1;
  localparam int ProductW = ACC_W + 1 + 16;
  localparam int Pieces = (ACC_W + 16) / 17;  // of acc + bias: 17 bits, the last one with sign
  localparam int PieceW = 18 + 16;
  localparam int LiftedW = DW + 16 + 31;  // of (r*m_r) << t
  // Of the sum of both and 2^(s-1).
  localparam int SumW = (ProductW > LiftedW ? ProductW : LiftedW) + 3;
  localparam int Align = G == 1 ? 2 : G;
  localparam int Pitch2 = unzip_pkg::group_pitch(T_C, 2, Align);
  localparam int Pitch3 = unzip_pkg::group_pitch(T_C, 3, Align);
  localparam int Pitch4 = unzip_pkg::group_pitch(T_C, 4, Align);

  // ---- Job ---------------------------------------------------------------------------------------
  logic job_q, drain_q, bank_q;
  logic [1:0] tiles_q;
  logic [8:0] filters_q;
  logic [PARAM_AW-1:0] param_addr_q;
  logic [5:0] shift_q;
  logic signed [15:0] lo_q, hi_q;
  logic [11:0] out_h_q, out_w_q, pool_h_q, pool_w_q, dst_row_q;
  logic [15:0] dst_block_q;
  logic [1:0] dst_shift_q, pool_kernel_q, pool_stride_q, pool_pad_q;
  logic [4:0] dst_lane_q;
  logic [GROUP_W-1:0] group_before_q;  // the last one but one
  logic group_one_q;  // there is one only
  logic residual_q;
  logic signed [15:0] res_scale_q;
  logic [4:0] res_lift_q;
  logic map_start_q;  // a tile that begins at the map's first pixel has been taken
  logic item, item_last;
  logic [2:0] pe_groups_q;
  logic [8:0] pitch_q;

  assign job_ready_o = !job_q;
  assign busy_o = job_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      job_q   <= 1'b0;
      tiles_q <= 2'd0;
      bank_q  <= 1'b0;
    end else begin
      if (job_valid_i && job_ready_o) begin
        job_q <= 1'b1;
      end else if (done_o) begin
        job_q <= 1'b0;
      end
      tiles_q <= tiles_q + 2'(tile_done_i) - 2'(tile_release_o);
      bank_q  <= bank_q ^ tile_release_o;
    end
  end

  always_ff @(posedge clk_i) begin
    if (job_valid_i && job_ready_o) begin
      filters_q <= job_filters_i;
      param_addr_q <= job_param_addr_i;
      shift_q <= job_scale_shift_i;
      lo_q <= job_clamp_lo_i;
      hi_q <= job_clamp_hi_i;
      out_h_q <= job_out_h_i;
      out_w_q <= job_out_w_i;
      pe_groups_q <= S > 1 ? job_groups_i : 3'd1;
      pitch_q <= job_groups_i == 3'd2 ? 9'(Pitch2) : job_groups_i == 3'd3 ? 9'(Pitch3) : 9'(Pitch4);
      dst_row_q <= job_dst_row_i;
      dst_block_q <= job_dst_block_i;
      dst_shift_q <= job_dst_shift_i;
      dst_lane_q <= job_dst_lane_i;
      group_before_q <= job_dst_groups_i - GROUP_W'(2);
      group_one_q <= job_dst_groups_i == GROUP_W'(1);
      pool_kernel_q <= job_pool_kernel_i;
      pool_stride_q <= job_pool_stride_i;
      pool_pad_q <= job_pool_pad_i;
      pool_h_q <= job_pool_h_i;
      pool_w_q <= job_pool_w_i;
      residual_q <= job_residual_i;
    end
    map_start_q <= job_valid_i && job_ready_o && job_out_x_i == '0 && job_out_y_i == '0;
    if (!rst_ni) begin
      res_scale_q <= '0;
      res_lift_q  <= '0;
    end else if (set_residual_i) begin
      res_scale_q <= set_res_scale_i;
      res_lift_q  <= set_res_lift_i;
    end
  end

  // ---- Stage 0: walk the pixels and groups ---------------------------------------------------------
  logic [11:0] pixels_left_q;
  logic [ROW_AW-1:0] row_q;
  logic [2:0] pe_group_q;  // which of the row's pixels
  logic [8:0] pixel_pe_q, pe_q;  // first PE of the pixel, of the group of Q channels
  logic [GROUP_W-1:0] group_q;
  logic row_end, group_zero_q, group_end_q;  // group_q is 0, group_q is the last one

  assign item = job_q && drain_q && tiles_q != 2'd0 && (!residual_q || residual_valid_i);
  assign row_end = S == 1 || pe_group_q + 1'b1 == pe_groups_q;
  assign item_last = group_end_q && pixels_left_q == 12'd1;
  assign drain_re_o = item && group_zero_q && (S == 1 || pe_group_q == '0);
  assign drain_bank_o = bank_q;
  assign drain_row_o = row_q;
  assign param_re_o = valid_q[2];
  assign param_addr_o = s2_param_addr_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      drain_q <= 1'b0;
    end else if (job_valid_i && job_ready_o) begin
      drain_q <= 1'b1;
    end else if (item && item_last) begin
      drain_q <= 1'b0;
    end
    if (job_valid_i && job_ready_o) begin
      pixels_left_q <= job_pixels_i;
      row_q <= '0;
      pe_group_q <= '0;
      pixel_pe_q <= '0;
      pe_q <= '0;
      group_q <= '0;
      group_zero_q <= 1'b1;
      group_end_q <= job_dst_groups_i == GROUP_W'(1);
    end else if (item) begin
      group_q <= group_q + 1'b1;
      group_zero_q <= group_end_q;
      group_end_q <= group_end_q ? group_one_q : group_q == group_before_q;
      pe_q <= pe_q + 9'(Q);
      if (group_end_q) begin
        group_q <= '0;
        pixels_left_q <= pixels_left_q - 1'b1;
        pe_group_q <= row_end ? '0 : pe_group_q + 1'b1;
        pixel_pe_q <= row_end ? '0 : pixel_pe_q + pitch_q;
        pe_q <= row_end ? '0 : pixel_pe_q + pitch_q;
        if (row_end) row_q <= row_q + 1'b1;
      end
    end
  end

  // The group's channels within the residual's word; the pixel's next word begins a block.
  logic [4:0] part_q;
  logic word_end;

  assign word_end = part_q == 5'(PARTS - 1) || group_end_q;
  assign residual_ready_o = item && residual_q && word_end;

  always_ff @(posedge clk_i) begin
    if (job_valid_i && job_ready_o) begin
      part_q <= job_dst_lane_i;
    end else if (item) begin
      part_q <= group_end_q ? dst_lane_q : word_end ? '0 : part_q + 1'b1;
    end
  end

  // ---- Stages 1 to 12: arithmetic -------------------------------------------------------------------
  localparam int Stages = 12;
  logic [Stages:1] valid_q, last_q, group_first_q, group_last_q;
  logic [GROUP_W-1:0] s1_group_q;
  logic [8:0] s1_pe_q, s2_pe_q, s3_pe_q;
  logic [PARAM_AW-1:0] s1_param_addr_q, s2_param_addr_q;

  always_ff @(posedge clk_i) begin
    valid_q <= rst_ni ? {valid_q[Stages-1:1], item} : '0;
    last_q <= {last_q[Stages-1:1], item_last};
    group_first_q <= {group_first_q[Stages-1:1], group_zero_q};
    group_last_q <= {group_last_q[Stages-1:1], group_end_q};
    s1_group_q <= group_q;
    s1_pe_q <= pe_q;
    s2_pe_q <= s1_pe_q;
    s3_pe_q <= s2_pe_q;
    s1_param_addr_q <= param_addr_q + PARAM_AW'(group_q);
    s2_param_addr_q <= s1_param_addr_q;
  end

  // The bank is free once its last row has been captured by stage 4.
  assign tile_release_o = valid_q[3] && last_q[3];

  logic [Q*ACC_W-1:0] s3_acc;
  logic [Q*DW-1:0] s0_residual, s1_residual_q, s2_residual_q, s3_residual_q;
  logic [Q*DW-1:0] output_q;

  localparam logic [255:0] GroupStarts = unzip_pkg::group_starts(T_C, S, Align, Q);
  logic [(T_C+Q)*ACC_W-1:0] drain_padded;
  assign drain_padded = {{Q * ACC_W{1'b0}}, drain_data_i};

  always_comb begin
    s3_acc = '0;
    for (int c = 0; c < T_C; c++) begin
      if (GroupStarts[c] && s3_pe_q == 9'(c)) s3_acc = drain_padded[c*ACC_W+:Q*ACC_W];
    end
  end

  always_comb begin
    s0_residual = '0;
    for (int p = 0; p < PARTS; p++) begin
      if (residual_q && part_q == 5'(p)) s0_residual = residual_data_i[p*Q*DW+:Q*DW];
    end
  end
  always_ff @(posedge clk_i) begin
    if (item) s1_residual_q <= s0_residual;
    s2_residual_q <= s1_residual_q;
    s3_residual_q <= s2_residual_q;
  end

  logic [SumW-1:0] half_q;  // 2^(s-1)
  always_ff @(posedge clk_i) half_q <= (SumW'(1) << shift_q) >> 1;

  for (genvar l = 0; l < Q; l++) begin : g_lane
    logic signed [ACC_W-1:0] acc_q, bias_q;
    logic signed [15:0] m4_q, m5_q, m6_q, scale_q;
    logic signed [ACC_W:0] sum_q;
    logic signed [ProductW-1:0] product;
    logic [Pieces*PieceW-1:0] early_q, piece_q;
    logic signed [DW-1:0] s3_residual;
    logic signed [DW+15:0] early_scaled_q, scaled_q;
    logic signed [LiftedW-1:0] part_lifted_q, lifted_q;
    logic signed [SumW-1:0] addend_q, rounded_q, part_shifted_q, shifted_q;
    logic [11:2] live_q;
    assign s3_residual = s3_residual_q[l*DW+:DW];

    // A multiplier block and an adder for each piece of the sum; a register in front of a multiplier and
    // two behind it, as multipliers lie where the device has them.
    for (genvar p = 0; p < Pieces; p++) begin : g_piece
      logic signed [17:0] piece, factor_q;
      assign piece = p == Pieces - 1 ? 18'(sum_q >>> (17 * p)) : {1'b0, 17'(sum_q >> (17 * p))};
      always_ff @(posedge clk_i) begin
        factor_q <= piece;
        early_q[p*PieceW+:PieceW] <= factor_q * m6_q;
      end
    end
    always_comb begin
      product = '0;
      for (int p = 0; p < Pieces; p++) begin
        product = product + (ProductW'($signed(piece_q[p*PieceW+:PieceW])) <<< (17 * p));
      end
    end

    always_ff @(posedge clk_i) begin
      scale_q <= res_scale_q;
      m6_q <= m5_q;
      piece_q <= early_q;
      early_scaled_q <= (DW + 16)'(s3_residual) * (DW + 16)'(scale_q);
      scaled_q <= early_scaled_q;
      if (valid_q[3]) begin
        acc_q  <= s3_acc[l*ACC_W+:ACC_W];
        bias_q <= param_data_i[l*PARAM_W+:ACC_W];
        m4_q   <= param_data_i[l*PARAM_W+ACC_W+:16];
      end
      if (valid_q[4]) begin
        sum_q <= (ACC_W + 1)'(acc_q) + (ACC_W + 1)'(bias_q);
        m5_q  <= m4_q;
      end
      if (valid_q[5]) part_lifted_q <= LiftedW'(scaled_q) <<< res_lift_q[2:0];
      if (valid_q[6]) lifted_q <= part_lifted_q <<< {res_lift_q[4:3], 3'd0};
      if (valid_q[7]) addend_q <= SumW'(lifted_q) + $signed(half_q);
      if (valid_q[8]) rounded_q <= SumW'(product) + addend_q;
      if (valid_q[9]) part_shifted_q <= rounded_q >>> shift_q[2:0];
      if (valid_q[10]) shifted_q <= part_shifted_q >>> {shift_q[5:3], 3'd0};
      live_q <= {live_q[10:2], 32'(s1_group_q) * Q + l < 32'(filters_q)};
      if (valid_q[11]) begin
        output_q[l*DW+:DW] <= !live_q[11] ? '0 : shifted_q < SumW'(lo_q) ? DW'(lo_q) :
                              shifted_q > SumW'(hi_q) ? DW'(hi_q) : DW'(shifted_q);
      end
    end
  end

  // ---- Pooling -----------------------------------------------------------------------------------
  logic pooling_q, pool_valid, pool_row_end, pool_group_last;
  logic [Q*DW-1:0] pool_data;

  logic pool_valid_q;
  always_ff @(posedge clk_i) begin
    if (job_valid_i && job_ready_o) pooling_q <= job_pool_kernel_i != 2'd0;
    pool_valid_q <= rst_ni && valid_q[Stages-1] && pooling_q;
  end

  unzip_max_pool #(
      .Q(Q),
      .DW(DW),
      .GROUPS(MaxGroups),
      .POOL_DEPTH(POOL_W * ArrayGroups)
  ) u_max_pool (
      .clk_i,
      .rst_ni,
      .kernel_i(pool_kernel_q),
      .stride_i(pool_stride_q),
      .pad_i(pool_pad_q),
      .in_h_i(out_h_q),
      .in_w_i(out_w_q),
      .out_h_i(pool_h_q),
      .out_w_i(pool_w_q),
      .early_i(valid_q[Stages-1] && pooling_q),
      .valid_i(pool_valid_q),
      .restart_i(map_start_q),
      .group_first_i(group_first_q[Stages]),
      .group_last_i(group_last_q[Stages]),
      .data_i(output_q),
      .valid_o(pool_valid),
      .row_end_o(pool_row_end),
      .group_last_o(pool_group_last),
      .data_o(pool_data)
  );

  // ---- Write -------------------------------------------------------------------------------------
  // One path for both: an unpooled word is written at stage 13, a pooled one at stage 15; a tile has
  // only words of one kind. The position continues from tile to tile while a map is pooled.
  logic out_valid, out_group_last, out_row_end;
  logic [Q*DW-1:0] out_data;
  logic [11:0] x_q;
  logic [WORDS*16-1:0] job_addr, row_addr_q, block_addr_q;  // of each word of a group
  logic [BANK_W-1:0] first_bank_q, block_bank_q, out_bank;
  logic [WORDS-1:0] last_words_q;  // of a pixel's last group, those that hold filters
  logic [4:0] lane_q;
  logic x_last;

  assign out_valid = pooling_q ? pool_valid : valid_q[Stages];
  assign out_data = pooling_q ? pool_data : output_q;
  assign out_group_last = pooling_q ? pool_group_last : group_last_q[Stages];
  assign x_last = x_q + 1'b1 == out_w_q;
  assign out_row_end = pooling_q ? pool_row_end : group_last_q[Stages] && x_last;

  logic [PARTS-1:0] write_mask_q;
  logic [ Q*DW-1:0] write_data_q;

  for (genvar k = 0; k < WORDS; k++) begin : g_word
    if (k == 0) begin : g_first
      assign job_addr[15:0] = job_dst_base_i;
      always_ff @(posedge clk_i) last_words_q[0] <= 1'b1;
    end else begin : g_next
      assign job_addr[k*16+:16] = job_addr[(k-1)*16+:16] + job_dst_block_i;
      always_ff @(posedge clk_i) begin
        last_words_q[k] <= 32'(GROUP_W'(group_before_q + 1'b1)) * Q + k * T_P < 32'(filters_q);
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (job_valid_i && job_ready_o) begin
      lane_q <= job_dst_lane_i;
      first_bank_q <= job_dst_bank_i;
      block_bank_q <= job_dst_bank_i;
      if (job_pool_kernel_i == 2'd0 || (job_out_x_i == '0 && job_out_y_i == '0)) begin
        row_addr_q <= job_addr;
        block_addr_q <= job_addr;
        x_q <= job_out_x_i;
      end
    end else if (out_valid) begin
      lane_q <= lane_q + 1'b1;
      if (lane_q == 5'(PARTS - 1)) begin
        lane_q <= '0;
        for (int k = 0; k < WORDS; k++) begin
          block_addr_q[k*16+:16] <= block_addr_q[k*16+:16] + 16'(32'(dst_block_q) << $clog2(WORDS));
        end
        block_bank_q <= block_bank_q + BANK_W'(WORDS);
      end
      if (out_group_last) begin
        lane_q <= dst_lane_q;
        block_addr_q <= row_addr_q;
        block_bank_q <= first_bank_q;
        x_q <= x_q + 1'b1;
        if (out_row_end) begin
          x_q <= '0;
          for (int k = 0; k < WORDS; k++) begin
            row_addr_q[k*16+:16]   <= row_addr_q[k*16+:16] + 16'(dst_row_q);
            block_addr_q[k*16+:16] <= row_addr_q[k*16+:16] + 16'(dst_row_q);
          end
        end
      end
    end
    if (out_valid) write_mask_q <= PARTS'(1) << lane_q;
  end

  assign out_bank = block_bank_q + BANK_W'(x_q >> dst_shift_q);
  assign write_mask_o = write_mask_q;
  assign write_data_o = {PARTS{write_data_q}};

  localparam int WriteW = Q * DW / WORDS;
  for (genvar p = 0; p < WORDS; p++) begin : g_port
    logic [NumberW-1:0] number;  // of the group's word in this port's bank
    logic port_valid_q;
    logic [BANK_W-1:0] port_bank_q;
    logic [15:0] port_addr_q;

    assign number = WORDS > 1 ? NumberW'(p) - NumberW'(out_bank) : '0;

    always_ff @(posedge clk_i) begin
      if (out_valid) begin
        port_bank_q <= out_bank + BANK_W'(number);
        port_addr_q <= block_addr_q[number*16+:16] + unzip_pkg::act_column(
            14'(x_q), dst_shift_q, BANK_W
        );
        write_data_q[p*WriteW+:WriteW] <= out_data[number*WriteW+:WriteW];
      end
      port_valid_q <= rst_ni && out_valid && (!out_group_last || last_words_q[number]);
    end

    assign write_valid_o[p] = port_valid_q;
    assign write_bank_o[p*BANK_W+:BANK_W] = port_bank_q;
    assign write_addr_o[p*ADDR_W+:ADDR_W] = port_addr_q[ADDR_W-1:0];

    `UNZIP_ASSERT(AddressInside, !port_valid_q || int'(port_addr_q) < ACT_DEPTH, clk_i, rst_ni)
  end

  // The tile's last word reaches the write port four cycles after stage 12 when pooled, one when not;
  // done comes when it is visible in either case.
  logic [4:0] done_q;
  always_ff @(posedge clk_i)
    done_q <= rst_ni ? {done_q[3:0], valid_q[Stages] && last_q[Stages]} : '0;
  assign done_o = done_q[4];

  `UNZIP_ASSERT(TwoTiles, tiles_q != 2'd3, clk_i, rst_ni)

endmodule
