// SPDX-License-Identifier: Apache-2.0
// Projector of the code domain: signed sums of activations take the place of the activations.
//
// Mathematics: H[j][i] = (-1)^popcount(j & i), the Sylvester-Hadamard codes, J the layer's list of n codes
//   along the kernel (3x3, horizontal stride 1 or 2), for each pixel, channel block and code j of J
//     z[l] = sum_{ky, kx < 3} H[j][4*ky + kx] * x[ky][kx][l]             l < T_P
//   along the channels (n = 1, 2, 4 or 8), for each pixel, tap and 16/n channel blocks of T_P channels
//     z[l] = sum_{c < 16} H[J[l mod n]][c] * x[16*(l/n) + c]             l < T_P
//   where x counts the channels of these blocks. A PE then sums alphas times z: the same integers as
//   weights times x, with n multiplications for 9, or for 16. |z| <= 16*(2^(DW-1) - 1) fits DW + 4 bits.
//   There is no multiplier: along the kernel adders take one code a cycle, along the channels a
//   fast Walsh-Hadamard transform makes all sums of a word, and n of them are picked.
//
// Order along the kernel (the same as the alphas')
//   for each channel block (a chunk): for each row of `groups` pixels: for each code of the list
//   The window reader brings, for each line of the tile, one row of S pixels (two if S and the stride are
//   1) whose last columns are left of the line's first pixel, then rows of S pixels: for each ky the words
//   of the stride's new columns, pixel k of the row on bus k. There are one or two `groups` of PEs (one if S is
//   1), and no row of `groups` pixels goes over a line's end. Here the columns stand in a window of
//   2*S + 1 columns, which is moved on by `groups` pixels after n cycles; the next S pixels fill a second
//   buffer meanwhile.
//
// Interface
//   list_*     the code list, written while busy_o is 0.
//   job_*      a tile along the kernel, in the order of its words.
//   issue_i, room_o: a read along the kernel is on its way, and whether one more may be.
//   word_*     words and what they belong to, without back-pressure; see unzip_window_reader. Words of
//              one domain come only when busy_o has been 0 since the last of another.
//   operand_*  the operand stream to the PE array, without back-pressure. Words of domain 0 pass through.
// Throughput: along the kernel, a row of `groups` pixels and a block take the larger of n cycles and its
// reads, 3*stride*groups/S (3*stride for each row of S pixels, before a line, too); along the channels an
// operand for each step; otherwise an operand a cycle, in the cycle of its word.
// Latency: 5 cycles from the last read of a row of S pixels along the kernel, 4 along the channels.
`include "unzip_assert.svh"
`include "unzip_limits.svh"

module unzip_projector #(
    parameter int T_P = 8,  // activations of a word
    parameter int T_R = 16,  // accumulator rows per tile
    parameter int S = 1,  // row buses
    parameter int D = 9,  // weight words per half of a register file
    parameter int DW = 8,  // bits of an activation
    parameter int OPERAND_W = DW + 4,  // bits of an operand
    localparam int ROW_AW = $clog2(T_R),
    localparam int STEP_W = $clog2(D)
) (
    input logic clk_i,
    input logic rst_ni,

    input logic        list_we_i,
    input logic [95:0] list_i,     // 16 codes of 6 bits, of which 4 are used

    input  logic        job_valid_i,
    output logic        job_ready_o,
    input  logic [11:0] job_pixels_i,
    input  logic [11:0] job_out_x_i,
    input  logic [11:0] job_out_w_i,
    input  logic        job_stride_two_i,
    input  logic [ 2:0] job_groups_i,
    input  logic [ 3:0] job_codes_i,         // 1 to 8
    input  logic [11:0] job_blocks_i,
    input  logic        job_reduce_first_i,
    input  logic        job_reduce_last_i,
    input  logic        job_bank_i,
    input  logic        issue_i,
    output logic        room_o,
    output logic        busy_o,

    input logic                word_valid_i,
    input logic [S*T_P*DW-1:0] word_data_i,
    input logic [         1:0] word_domain_i,      // see unzip_pkg
    input logic [         1:0] word_log2_codes_i,
    input logic [         3:0] word_part_i,
    input logic                word_part_last_i,
    input logic                word_single_i,
    input logic [  STEP_W-1:0] word_step_i,
    input logic [  ROW_AW-1:0] word_row_i,
    input logic                word_bank_i,
    input logic                word_fresh_i,
    input logic                word_first_i,
    input logic                word_last_i,
    input logic                word_chunk_last_i,
    input logic                word_tile_last_i,

    output logic                       operand_valid_o,
    output logic [S*T_P*OPERAND_W-1:0] operand_data_o,
    output logic [         STEP_W-1:0] operand_step_o,
    output logic [         ROW_AW-1:0] operand_row_o,
    output logic                       operand_bank_o,
    output logic                       operand_fresh_o,
    output logic                       operand_first_o,
    output logic                       operand_last_o,
    output logic                       operand_chunk_last_o,
    output logic                       operand_tile_last_o
);

  `UNZIP_LIMIT_T_P
  `UNZIP_LIMIT_T_R
  `UNZIP_LIMIT_S
  `UNZIP_LIMIT_D
  `UNZIP_LIMIT_DW
  `UNZIP_LIMIT_OPERAND_W
  `UNZIP_REQUIRE(PROJECTION, OPERAND_W == DW + 4,
                 ("OPERAND_W (%0d) is not DW (%0d) + 4: projections need as much.", OPERAND_W, DW))

  localparam int WordW = T_P * DW;
  localparam int BusW = T_P * OPERAND_W;
  localparam int Places = 8;  // reads along the kernel that are on their way or wait
  localparam int FlagW = STEP_W + ROW_AW + 6;
  localparam int Groups = S < 2 ? S : 2;  // of PEs, most, and so row buses with projections

  logic [16*4-1:0] list_q;
  always_ff @(posedge clk_i) begin
    for (int j = 0; j < 16; j++) begin
      if (list_we_i) list_q[4*j+:4] <= list_i[6*j+:4];
    end
  end

  // ---- Along the kernel: words that wait -------------------------------------------------------------
  logic read_valid, read_take;
  logic [S*WordW-1:0] read_words;
  logic [3:0] places_q, places;  // used
  logic room_q;

  unzip_fifo #(
      .WIDTH(S * WordW),
      .DEPTH(Places)
  ) u_reads (
      .clk_i,
      .rst_ni,
      .in_valid_i(word_valid_i && word_domain_i == unzip_pkg::DOMAIN_KERNEL),
      .in_ready_o(),
      .in_data_i(word_data_i),
      .out_valid_o(read_valid),
      .out_ready_i(read_take),
      .out_data_o(read_words),
      .count_o()
  );

  assign places = places_q + 4'(issue_i) - 4'(read_take);
  assign room_o = room_q;
  always_ff @(posedge clk_i) begin
    places_q <= rst_ni ? places : '0;
    room_q   <= !rst_ni || places != 4'(Places);
  end

  // ---- Along the kernel: the tile whose words come -----------------------------------------------------
  localparam int JobW = 3 * 12 + 12 + 1 + 3 + 4 + 3;
  logic tile_valid, tile_done;
  logic [11:0] tile_pixels, tile_out_x, tile_out_w, tile_blocks;
  logic [2:0] tile_groups;
  logic [3:0] tile_codes;
  logic tile_stride_two, tile_first, tile_last, tile_bank;

  unzip_fifo #(
      .WIDTH(JobW),
      .DEPTH(2)
  ) u_tiles (
      .clk_i,
      .rst_ni,
      .in_valid_i(job_valid_i),
      .in_ready_o(job_ready_o),
      .in_data_i({
        job_pixels_i,
        job_out_x_i,
        job_out_w_i,
        job_blocks_i,
        job_stride_two_i,
        job_groups_i,
        job_codes_i,
        job_reduce_first_i,
        job_reduce_last_i,
        job_bank_i
      }),
      .out_valid_o(tile_valid),
      .out_ready_i(tile_done),
      .out_data_o({
        tile_pixels,
        tile_out_x,
        tile_out_w,
        tile_blocks,
        tile_stride_two,
        tile_groups,
        tile_codes,
        tile_first,
        tile_last,
        tile_bank
      }),
      .count_o()
  );

  // Position: the pixels left of the line and of the block's pixels, from the row of S pixels on.
  logic walk_q;  // the position is set
  logic [11:0] line_left_q, pixels_left_q, blocks_left_q;
  logic first_block_q, before_q, before_second_q;  // before: a row left of the line's first pixel
  logic [1:0] ky_q;
  logic phase_q, line_first_q;
  logic line_ends, pixels_end, row_end, row_full;
  logic [2:0] live;

  assign line_ends = line_left_q <= 12'(S);
  assign pixels_end = pixels_left_q <= 12'(S) && pixels_left_q <= line_left_q;
  assign live = pixels_end ? 3'(pixels_left_q) : line_ends ? 3'(line_left_q) : 3'(S);
  assign row_end = ky_q == 2'd2 && phase_q == tile_stride_two;
  assign row_full = read_take && row_end && !before_q;
  assign tile_done = row_full && pixels_end && blocks_left_q == 12'd1;

  always_ff @(posedge clk_i) begin
    walk_q <= rst_ni && tile_valid && !tile_done;
    if (!walk_q) begin
      line_left_q <= tile_out_w - tile_out_x;
      pixels_left_q <= tile_pixels;
      blocks_left_q <= tile_blocks;
      first_block_q <= 1'b1;
      before_q <= 1'b1;
      before_second_q <= 1'b0;
      line_first_q <= 1'b1;
      ky_q <= '0;
      phase_q <= 1'b0;
    end else if (read_take) begin
      phase_q <= !phase_q && tile_stride_two;
      if (phase_q == tile_stride_two) ky_q <= ky_q == 2'd2 ? '0 : ky_q + 1'b1;
      if (row_end && before_q) begin
        before_q <= S == 1 && !tile_stride_two && !before_second_q;
        before_second_q <= 1'b1;
      end else if (row_end) begin
        line_left_q   <= line_left_q - 12'(S);
        pixels_left_q <= pixels_left_q - 12'(S);
        line_first_q  <= 1'b0;
        if (line_ends || pixels_end) begin
          pixels_left_q <= pixels_left_q - line_left_q;
          line_left_q <= tile_out_w;
          line_first_q <= 1'b1;
          before_q <= 1'b1;
          before_second_q <= 1'b0;
        end
        if (pixels_end) begin
          line_left_q   <= tile_out_w - tile_out_x;
          pixels_left_q <= tile_pixels;
          blocks_left_q <= blocks_left_q - 1'b1;
          first_block_q <= 1'b0;
        end
      end
    end
  end

  // ---- Along the kernel: columns before a line, of the next S pixels, and of the window ---------------
  localparam int Columns = 2 * S + 1;
  logic [2*3*WordW-1:0] before_words_q;  // columns left of a line's first new one
  logic [2*S*3*WordW-1:0] next_words_q;  // new columns of S pixels: the window's from 1 on
  logic [Columns*3*WordW-1:0] words_q;  // column c, row ky at 3*c + ky
  logic before_full_q, next_full_q, move, move_on;

  // What goes with the next S pixels, and with those in the window.
  localparam int RowW = 2 + 3 + 3 + 4 + 5;
  logic [RowW-1:0] next_row_q;
  logic next_line_first, next_stride_two;
  logic [2:0] next_live, next_groups;
  logic [3:0] next_codes;
  logic next_bank, next_fresh, next_chunk_last, next_tile_last, next_chunk_first;

  assign {next_line_first, next_stride_two, next_live, next_groups, next_codes, next_bank,
          next_fresh, next_chunk_last, next_tile_last, next_chunk_first} = next_row_q;
  logic chunk_first_q;  // the next row is the chunk's first one

  assign read_take = read_valid && walk_q && (before_q ? !before_full_q : !next_full_q || move);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      before_full_q <= 1'b0;
      next_full_q   <= 1'b0;
    end else begin
      if (read_take && row_end && before_q && (S > 1 || tile_stride_two || before_second_q)) begin
        before_full_q <= 1'b1;
      end else if (move && next_line_first) begin
        before_full_q <= 1'b0;
      end
      next_full_q <= row_full || (next_full_q && !move);
    end
    if (!walk_q) chunk_first_q <= 1'b1;
    if (row_full) begin
      chunk_first_q <= pixels_end;
      next_row_q <= {
        line_first_q,
        tile_stride_two,
        live,
        tile_groups,
        tile_codes,
        tile_bank,
        tile_first && first_block_q,
        pixels_end,
        pixels_end && blocks_left_q == 12'd1 && tile_last,
        chunk_first_q
      };
    end
  end

  for (genvar y = 0; y < 3; y++) begin : g_fill
    for (genvar c = 0; c < 2; c++) begin : g_before
      // Stride 1: the last two new columns of the row before; stride 2: the last one.
      localparam int Bus = S == 1 ? 0 : S - 2 + c;
      logic here;
      assign here = tile_stride_two ? c == 0 && phase_q : S > 1 || before_second_q == (c == 1);
      always_ff @(posedge clk_i) begin
        if (read_take && before_q && ky_q == 2'(y) && here) begin
          before_words_q[(3*c+y)*WordW+:WordW] <= tile_stride_two ?
              read_words[(S-1)*WordW+:WordW] : read_words[Bus*WordW+:WordW];
        end
      end
    end
    for (genvar c = 1; c < Columns; c++) begin : g_next
      localparam int Bus1 = c >= 2 && c - 2 < S ? c - 2 : (c - 1) / 2;
      logic here;
      assign here = tile_stride_two ? phase_q == (c % 2 == 0) : c >= 2 && c - 2 < S;
      always_ff @(posedge clk_i) begin
        if (read_take && !before_q && ky_q == 2'(y) && here) begin
          next_words_q[(3*(c-1)+y)*WordW+:WordW] <= tile_stride_two ?
              read_words[(c-1)/2*WordW+:WordW] : read_words[Bus1*WordW+:WordW];
        end
      end
    end
  end

  // The window moves on by `groups` pixels, and takes the next S pixels' columns in behind.
  logic row_valid_q, row_done, stride_two_q, bank_q, fresh_q, chunk_last_q, tile_last_q;
  logic [2:0] left_q, groups_q;  // pixels left
  logic [3:0] codes_q, code_q;
  logic code_last_q, pixels_last;
  logic [ROW_AW-1:0] row_q;
  logic [1:0] step;  // the window moves on by 1, 2 or 4 columns

  assign pixels_last = left_q <= groups_q;
  assign row_done = row_valid_q && code_last_q && pixels_last;
  assign move = next_full_q && (!row_valid_q || row_done);
  assign move_on = move || (row_valid_q && code_last_q && !pixels_last);
  assign step = groups_q[1] && S > 1 ? {stride_two_q, !stride_two_q} : {1'b0, stride_two_q};

  always_ff @(posedge clk_i) begin
    row_valid_q <= rst_ni && (move || (row_valid_q && !row_done));
    if (move) begin
      stride_two_q <= next_stride_two;
      left_q <= next_live;
      groups_q <= next_groups;
      codes_q <= next_codes;
      bank_q <= next_bank;
      fresh_q <= next_fresh;
      chunk_last_q <= next_chunk_last;
      tile_last_q <= next_tile_last;
      code_q <= '0;
      code_last_q <= next_codes == 4'd1;
      row_q <= next_chunk_first ? '0 : row_q + 1'b1;
    end else if (row_valid_q) begin
      code_q <= code_last_q ? '0 : code_q + 1'b1;
      code_last_q <= code_last_q ? codes_q == 4'd1 : code_q + 4'd2 == codes_q;
      if (code_last_q) begin
        left_q <= left_q - groups_q;
        row_q  <= row_q + ROW_AW'(!pixels_last);
      end
    end
  end

  for (genvar c = 0; c < Columns; c++) begin : g_window
    // What stands 1, 2 and 4 columns further on, of those that there are.
    localparam int C1 = c + 1 < Columns ? c + 1 : c;
    localparam int C2 = c + 2 < Columns ? c + 2 : C1;
    localparam int C4 = c + 4 < Columns ? c + 4 : C2;
    localparam int W = 3 * WordW;
    if (c == Columns - 1) begin : g_last
      always_ff @(posedge clk_i) begin
        if (move) words_q[c*W+:W] <= next_words_q[(c-1)*W+:W];
      end
    end else begin : g_column
      logic [1:0] from;  // 3: what is not in the window yet
      logic [W-1:0] outside, words;
      assign from = move && (c >= 2 || next_line_first) ? 2'd3 : step;
      if (c < 2) begin : g_outside
        assign outside = before_words_q[c*W+:W];
      end else begin : g_outside
        assign outside = next_words_q[(c-1)*W+:W];
      end
      assign words = from[1] ? (from[0] ? outside : words_q[C4*W+:W]) :
          from[0] ? words_q[C2*W+:W] : words_q[C1*W+:W];
      always_ff @(posedge clk_i) begin
        if (move_on) begin
          words_q[c*W+:W] <= c == 1 && move && next_stride_two ? next_words_q[W-1:0] : words;
        end
      end
    end
  end

  // ---- Along the kernel: signed sums, one code a cycle ------------------------------------------------
  // Position 4*ky + kx: bits 3 and 2 of a code are the signs of rows 2 and 1, bits 1 and 0 those of
  // columns 2 and 1. Columns are summed first, each once for all windows that it is in.
  logic [3:0] code_next, signs_q;  // of the code that the window's pixels have next
  logic [1:0] column_signs_q;
  logic sums_two_q;  // stride 2
  assign code_next = row_valid_q && !code_last_q ? code_q + 1'b1 : 4'd0;

  always_ff @(posedge clk_i) begin
    signs_q <= list_q[4*code_next+:4];
    column_signs_q <= signs_q[1:0];
    sums_two_q <= stride_two_q;
  end

  logic kernel1_valid_q, kernel_valid_q;
  logic [FlagW-1:0] kernel1_flags_q, kernel_flags_q;
  always_ff @(posedge clk_i) begin
    kernel1_valid_q <= rst_ni && row_valid_q;
    kernel_valid_q <= rst_ni && kernel1_valid_q;
    kernel1_flags_q <= {
      STEP_W'(code_q),
      row_q,
      bank_q,
      fresh_q,
      code_q == '0,
      code_last_q,
      code_last_q && pixels_last && chunk_last_q,
      code_last_q && pixels_last && tile_last_q
    };
    kernel_flags_q <= kernel1_flags_q;
  end

  // a + b, or a - b: one carry chain, whose lowest bit makes the carry.
  function automatic logic [OPERAND_W-1:0] add_sub(
      input logic [OPERAND_W-1:0] a, input logic [OPERAND_W-1:0] b, input logic minus);
    add_sub = OPERAND_W'(({a, minus} + {b ^ {OPERAND_W{minus}}, minus}) >> 1);
  endfunction

  localparam int SumW = DW + 2;  // bits of a column's sum
  localparam int SumsW = T_P * SumW;
  localparam int Summed = 2 * Groups + 1;  // columns of the windows of a row of pixels
  logic [Summed*SumsW-1:0] column_sums_q;

  for (genvar c = 0; c < Summed; c++) begin : g_column
    for (genvar l = 0; l < T_P; l++) begin : g_lane
      logic [OPERAND_W-1:0] x0, x1, x2;
      assign x0 = OPERAND_W'($signed(words_q[3*c*WordW+l*DW+:DW]));
      assign x1 = OPERAND_W'($signed(words_q[(3*c+1)*WordW+l*DW+:DW]));
      assign x2 = OPERAND_W'($signed(words_q[(3*c+2)*WordW+l*DW+:DW]));
      always_ff @(posedge clk_i) begin
        column_sums_q[c*SumsW+l*SumW+:SumW] <=
            SumW'(add_sub(add_sub(x0, x1, signs_q[2]), x2, signs_q[3]));
      end
    end
  end

  logic [Groups*BusW-1:0] kernel_q;
  for (genvar b = 0; b < Groups; b++) begin : g_bus
    logic [3*SumsW-1:0] window;
    assign window = sums_two_q ? column_sums_q[2*b*SumsW+:3*SumsW] :
        column_sums_q[b*SumsW+:3*SumsW];
    for (genvar l = 0; l < T_P; l++) begin : g_lane
      logic [OPERAND_W-1:0] x0, x1, x2;
      assign x0 = OPERAND_W'($signed(window[l*SumW+:SumW]));
      assign x1 = OPERAND_W'($signed(window[SumsW+l*SumW+:SumW]));
      assign x2 = OPERAND_W'($signed(window[2*SumsW+l*SumW+:SumW]));
      always_ff @(posedge clk_i) begin
        kernel_q[b*BusW+l*OPERAND_W+:OPERAND_W] <=
            add_sub(add_sub(x0, x1, column_signs_q[0]), x2, column_signs_q[1]);
      end
    end
  end

  // ---- Along the channels: transform, pick, pack ------------------------------------------------------
  localparam int Length = T_P < 16 ? T_P : 16;  // channels that a transform takes of a word
  localparam int Levels = $clog2(Length);
  localparam int Halves = T_P / Length;
  localparam int PortsMax = T_P < 16 ? 1 : S;
  localparam int InfoW = FlagW + 2 + 4 + 1 + 1;
  logic [4:1] channel_valid_q;
  logic [4*InfoW-1:0] channel_info_q;
  logic [InfoW-1:0] channel_info;
  logic [FlagW-1:0] channel_flags;
  logic [1:0] pack_log2_codes;
  logic [3:0] pack_part;
  logic pack_single, channel_part_last, channel_read;

  assign channel_read = word_valid_i && word_domain_i == unzip_pkg::DOMAIN_CHANNELS;
  assign channel_info = {
    word_log2_codes_i,
    word_part_i,
    word_single_i,
    word_part_last_i,
    word_step_i,
    word_row_i,
    word_bank_i,
    word_fresh_i,
    word_first_i,
    word_last_i,
    word_chunk_last_i,
    word_tile_last_i
  };
  always_ff @(posedge clk_i) begin
    channel_valid_q <= rst_ni ? {channel_valid_q[3:1], channel_read} : '0;
    channel_info_q  <= {channel_info_q[3*InfoW-1:0], channel_info};
  end
  assign {pack_log2_codes, pack_part, pack_single} = channel_info_q[2*InfoW+FlagW+1+:InfoW-FlagW-1];
  assign channel_part_last = channel_info_q[3*InfoW+FlagW];
  assign channel_flags = channel_info_q[3*InfoW+:FlagW];

  // Sums of each bus's word (and half) with the first eight codes of the list. From the third bus on
  // four are enough: it brings blocks of a step that takes at least four.
  localparam int Ports = T_P < 16 ? Groups : S;  // buses whose words are transformed
  localparam int Picks = Ports > 2 ? 16 + 4 * (Ports - 2) : 8 * Ports;
  logic [Halves*Picks*OPERAND_W-1:0] picked_q;

  for (genvar b = 0; b < Ports; b++) begin : g_port
    localparam int Codes = b < 2 ? 8 : 4;
    localparam int First = (b < 2 ? 8 * b : 8 + 4 * b) * Halves;
    for (genvar h = 0; h < Halves; h++) begin : g_half
      // Sums and differences of pairs: step k pairs the values whose numbers differ in bit k.
      for (genvar k = 0; k < Levels; k++) begin : g_step
        localparam int InW = DW + k;
        logic [Length*InW-1:0] in;
        logic [Length*(InW+1)-1:0] sums, out;
        if (k == 0) begin : g_in
          assign in = word_data_i[(b*T_P+h*Length)*DW+:Length*DW];
        end else begin : g_in
          assign in = g_step[k-1].out;
        end
        for (genvar i = 0; i < Length; i++) begin : g_value
          localparam int Low = i & ~(1 << k);
          logic [InW:0] low, high;
          assign low = (InW + 1)'($signed(in[Low*InW+:InW]));
          assign high = (InW + 1)'($signed(in[(Low+(1<<k))*InW+:InW]));
          assign sums[i*(InW+1)+:InW+1] = (i >> k) % 2 == 0 ? low + high : low - high;
        end
        if (k == 1 || k == Levels - 1) begin : g_out
          logic [Length*(InW+1)-1:0] sums_q;
          always_ff @(posedge clk_i) sums_q <= sums;
          assign out = sums_q;
        end else begin : g_out
          assign out = sums;
        end
      end
      localparam int OutW = DW + Levels;
      logic [Length*OutW-1:0] transformed;
      assign transformed = g_step[Levels-1].out;

      for (genvar i = 0; i < Codes; i++) begin : g_code
        logic [Levels-1:0] index;
        assign index = list_q[4*i+:Levels];
        always_ff @(posedge clk_i) begin
          picked_q[(First+h*Codes+i)*OPERAND_W+:OPERAND_W] <=
              OPERAND_W'($signed(transformed[index*OutW+:OutW]));
        end
      end
    end
  end

  // Lane l takes code l mod n of the block l/n of 16 channels. With T_P = 8 such a block is two words.
  logic [Groups*BusW-1:0] channel_q;
  for (genvar b = 0; b < Groups; b++) begin : g_pack
    for (genvar l = 0; l < T_P; l++) begin : g_lane
      logic [3:0] here, here_single;  // for each n
      logic [4*OPERAND_W-1:0] value, value_single;
      for (genvar n = 0; n < 4; n++) begin : g_codes
        localparam int Codes = 1 << n;
        localparam int Together = PortsMax < 16 / Codes ? PortsMax : 16 / Codes;
        localparam int Block = l / Codes;
        localparam int Word = T_P < 16 ? 2 * Block : Block / Halves;
        localparam int Half = T_P < 16 ? 0 : Block % Halves;
        localparam int Port = b == 0 ? Word % Together : b;
        localparam int First = (Port < 2 ? 8 * Port : 8 + 4 * Port) * Halves;
        localparam int PortCodes = Port < 2 ? 8 : 4;
        assign here[n] = T_P < 16 ? pack_part[3:1] == 3'(Word / 2) : pack_part == 4'(Word);
        assign here_single[n] = b == 0 && pack_part == 4'(Word / Together);
        assign value[n*OPERAND_W+:OPERAND_W] =
            picked_q[((b*Halves+Half)*8+l%Codes)*OPERAND_W+:OPERAND_W];  // b < 2
        assign value_single[n*OPERAND_W+:OPERAND_W] =
            picked_q[(First+Half*PortCodes+l%Codes)*OPERAND_W+:OPERAND_W];
      end
      logic [OPERAND_W-1:0] lane_q, lane_value;
      logic lane_here, lane_single, second_half, minus;
      logic [2:0] lane_index;
      assign lane_single = PortsMax > 1 && pack_single && b == 0;
      assign lane_here = lane_single ? here_single[pack_log2_codes] : here[pack_log2_codes];
      assign lane_value = lane_single ? value_single[pack_log2_codes*OPERAND_W+:OPERAND_W] :
          value[pack_log2_codes*OPERAND_W+:OPERAND_W];
      assign lane_index = 3'(l) & ~(3'd7 << pack_log2_codes);
      assign second_half = T_P < 16 && pack_part[0];
      assign minus = list_q[6'({
        lane_index, 2'd3
      })];  // channels 8 to 15 of the code: its highest bit
      always_ff @(posedge clk_i) begin
        if (channel_valid_q[3] && lane_here) begin
          lane_q <= !second_half ? lane_value : minus ? lane_q - lane_value : lane_q + lane_value;
        end
      end
      assign channel_q[b*BusW+l*OPERAND_W+:OPERAND_W] = lane_q;
    end
  end

  // ---- Operands ----------------------------------------------------------------------------------------
  logic channel_valid, pass_valid;
  logic [S*BusW-1:0] pass_data;
  logic [ FlagW-1:0] flags;
  assign channel_valid = channel_valid_q[4] && channel_part_last;
  assign pass_valid = word_valid_i && word_domain_i == unzip_pkg::DOMAIN_WEIGHTS;
  for (genvar l = 0; l < S * T_P; l++) begin : g_pass
    assign pass_data[l*OPERAND_W+:OPERAND_W] = OPERAND_W'($signed(word_data_i[l*DW+:DW]));
  end
  assign operand_valid_o = kernel_valid_q || channel_valid || pass_valid;
  assign operand_data_o[Groups*BusW-1:0] = kernel_valid_q ? kernel_q :
      channel_valid_q[4] ? channel_q : pass_data[Groups*BusW-1:0];
  if (S > Groups) begin : g_pass_alone
    assign operand_data_o[S*BusW-1:Groups*BusW] = pass_data[S*BusW-1:Groups*BusW];
  end
  assign flags = kernel_valid_q ? kernel_flags_q : channel_valid_q[4] ? channel_flags :
      channel_info[FlagW-1:0];
  assign {operand_step_o, operand_row_o, operand_bank_o, operand_fresh_o, operand_first_o,
          operand_last_o, operand_chunk_last_o, operand_tile_last_o} = flags;

  assign busy_o = places_q != '0 || tile_valid || next_full_q || row_valid_q || kernel1_valid_q ||
      kernel_valid_q || channel_valid_q != '0;

  `UNZIP_ASSERT(PlacesFit, places_q <= 4'(Places), clk_i, rst_ni)
  `UNZIP_ASSERT(GroupsFit, !tile_valid || (tile_groups != 3'd0 && int'(tile_groups) <= Groups),
                clk_i, rst_ni)
  `UNZIP_ASSERT(CodesFit, !tile_valid || (tile_codes != 4'd0 && tile_codes <= 4'd8), clk_i, rst_ni)
  `UNZIP_ASSERT(OneDomain, 2'(kernel_valid_q) + 2'(channel_valid_q[4]) + 2'(pass_valid) <= 2'd1,
                clk_i, rst_ni)

endmodule
