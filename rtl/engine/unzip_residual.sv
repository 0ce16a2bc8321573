// SPDX-License-Identifier: Apache-2.0
// Residual prefetcher: reads the residual operand of a tile ahead of the drain that adds it.
//
// Mathematics: output pixel (y, x) takes, for each channel block b that the tile writes, the word
//   r[b][y][x] of the residual tensor, zeros for b >= blocks, y >= height or x >= width
// Order: pixels in raster order, for each its channel blocks: that of the drain. Where the drain takes
// Q = WORDS*T_P channels at a time, so many words come side by side, the first block lowest.
//
// Interface: set_i takes the tensor's view (RESIDUAL instruction), start_i a tile; the words come out
// in order under valid/ready. Both only when the words of the tile before have all been taken. The
// read ports go to the activation memory's idle slots, port p to the banks whose number is p modulo
// WORDS, each with a buffer of its own. A read is requested only if the buffer has space for its word.
// Throughput: one word a cycle and port as long as the memory grants the reads; the first words stand
// seven cycles after start_i.
`include "unzip_assert.svh"
`include "unzip_limits.svh"

module unzip_residual #(
    parameter int T_P = 8,  // activations of a word
    parameter int T_C = 8,  // PEs
    parameter int Q = 4,  // channels of a group: a divisor of T_C and T_P, 2*T_P or 4*T_P
    parameter int DW = 8,  // bits of an activation
    parameter int ACT_BANKS = 2,
    parameter int ACT_DEPTH = 512,
    parameter int DEPTH = 8,  // words of a buffer, a power of two
    localparam int BANK_W = $clog2(ACT_BANKS),
    localparam int ADDR_W = $clog2(ACT_DEPTH),
    localparam int GROUP_W = $clog2(T_C / Q + T_P / Q + 1),  // bits of a number of groups
    localparam int WORDS = Q > T_P ? Q / T_P : 1  // of a group
) (
    input logic clk_i,
    input logic rst_ni,

    input logic        set_i,
    input logic [11:0] set_row_i,     // entries of a bank per row
    input logic [15:0] set_block_i,   // entries of a bank per channel block
    input logic [ 1:0] set_shift_i,   // stride shift of the bank mapping
    input logic [11:0] set_blocks_i,
    input logic [11:0] set_h_i,
    input logic [11:0] set_w_i,

    input logic               start_i,
    input logic [       15:0] base_i,         // entry of (first block, first row, column 0)
    input logic [       11:0] block_first_i,
    input logic [       11:0] out_x_i,
    input logic [       11:0] out_y_i,
    input logic [       11:0] out_w_i,
    input logic [       11:0] pixels_i,
    input logic [        4:0] lane_i,         // group of the first block that comes first
    input logic [GROUP_W-1:0] groups_i,       // groups of Q channels of a pixel

    output logic [       WORDS-1:0] read_valid_o,
    input  logic [       WORDS-1:0] read_ready_i,
    output logic [WORDS*BANK_W-1:0] read_bank_o,
    output logic [WORDS*ADDR_W-1:0] read_addr_o,
    input  logic [WORDS*T_P*DW-1:0] read_data_i,   // three cycles after the grant

    output logic                    valid_o,
    input  logic                    ready_i,
    output logic [WORDS*T_P*DW-1:0] data_o
);

  `UNZIP_LIMIT_T_P
  `UNZIP_LIMIT_T_C
  `UNZIP_LIMIT_Q_T_P
  `UNZIP_LIMIT_Q_T_C
  `UNZIP_LIMIT_DW
  `UNZIP_LIMIT_ACT_BANKS
  `UNZIP_LIMIT_Q_ACT_BANKS
  `UNZIP_LIMIT_ACT_DEPTH
  `UNZIP_LIMIT_POWER(DEPTH, "DEPTH")

  localparam int Parts = Q < T_P ? T_P / Q : 1;
  localparam int CountW = $clog2(DEPTH) + 1;
  localparam int NumberW = WORDS > 1 ? $clog2(WORDS) : 1;

  // ---- Tensor and tile -----------------------------------------------------------------------------
  logic [11:0] row_q, blocks_q, h_q, w_q, x_end_q, pixel_end_q, block_first_q;
  logic [15:0] block_q;
  logic [1:0] shift_q;
  logic [GROUP_W-1:0] word_end_q;  // last word, or group of words, of a pixel

  always_ff @(posedge clk_i) begin
    if (set_i) begin
      row_q <= set_row_i;
      block_q <= set_block_i;
      shift_q <= set_shift_i;
      blocks_q <= set_blocks_i;
      h_q <= set_h_i;
      w_q <= set_w_i;
    end
    if (start_i) begin
      block_first_q <= block_first_i;
      x_end_q <= out_w_i - 12'd1;
      pixel_end_q <= pixels_i - 12'd1;
      word_end_q <= GROUP_W'((32'(lane_i) + 32'(groups_i) - 1) / Parts);
    end
  end

  // ---- Stage 0: walk the pixels and their blocks -----------------------------------------------------
  // The walk takes a group of words at a time; number_q is the block of the first.
  logic run_q, en, word_last, tile_last;
  logic [11:0] pixel_q, x_q, y_q, number_q;
  logic [GROUP_W-1:0] word_q;
  logic [WORDS*16-1:0] base, row_addr_q, addr_q;  // of each word of a group

  for (genvar k = 0; k < WORDS; k++) begin : g_base
    if (k == 0) begin : g_first
      assign base[15:0] = base_i;
    end else begin : g_next
      assign base[k*16+:16] = base[(k-1)*16+:16] + block_q;
    end
  end

  assign word_last = word_q == word_end_q;
  assign tile_last = word_last && pixel_q == pixel_end_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      run_q <= 1'b0;
    end else if (start_i) begin
      run_q <= 1'b1;
    end else if (en && tile_last) begin
      run_q <= 1'b0;
    end
  end

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      pixel_q <= '0;
      word_q <= '0;
      x_q <= out_x_i;
      y_q <= out_y_i;
      number_q <= block_first_i;
      row_addr_q <= base;
      addr_q <= base;
    end else if (run_q && en) begin
      word_q   <= word_q + 1'b1;
      number_q <= number_q + 12'(WORDS);
      for (int k = 0; k < WORDS; k++) begin
        addr_q[k*16+:16] <= addr_q[k*16+:16] + 16'(32'(block_q) << $clog2(WORDS));
      end
      if (word_last) begin
        pixel_q <= pixel_q + 1'b1;
        word_q <= '0;
        number_q <= block_first_q;
        addr_q <= row_addr_q;
        x_q <= x_q + 1'b1;
        if (x_q == x_end_q) begin
          x_q <= '0;
          y_q <= y_q + 1'b1;
          for (int k = 0; k < WORDS; k++) begin
            row_addr_q[k*16+:16] <= row_addr_q[k*16+:16] + 16'(row_q);
            addr_q[k*16+:16] <= row_addr_q[k*16+:16] + 16'(row_q);
          end
        end
      end
    end
  end

  // ---- Stage 1: address ------------------------------------------------------------------------------
  logic s1_valid_q, s1_ready;
  logic [BANK_W-1:0] first_bank;
  logic [WORDS-1:0] reads_ready, words_valid, busy;

  assign first_bank = BANK_W'(number_q) + BANK_W'(x_q >> shift_q);
  assign s1_ready = &reads_ready;
  assign en = !s1_valid_q || s1_ready;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      s1_valid_q <= 1'b0;
    end else if (en) begin
      s1_valid_q <= run_q;
    end
  end

  assign valid_o = &words_valid;

  // ---- Ports: neighbouring blocks of a pixel lie in neighbouring banks, one of each port -----------
  logic [WORDS*T_P*DW-1:0] words;

  for (genvar p = 0; p < WORDS; p++) begin : g_port
    logic [NumberW-1:0] number;  // of the group's word in this port's bank
    logic s1_zero_q;
    logic [BANK_W-1:0] s1_bank_q;
    logic [15:0] s1_addr_q;

    assign number = WORDS > 1 ? NumberW'(p) - NumberW'(first_bank) : '0;

    always_ff @(posedge clk_i) begin
      if (en) begin
        s1_zero_q <= 32'(number_q) + 32'(number) >= 32'(blocks_q) || y_q >= h_q || x_q >= w_q;
        s1_bank_q <= first_bank + BANK_W'(number);
        s1_addr_q <= addr_q[number*16+:16] + unzip_pkg::act_column(14'(x_q), shift_q, BANK_W);
      end
    end

    // Between the memory's ready and the walk.
    logic read_valid, read_zero, take;

    unzip_fifo #(
        .WIDTH(1 + BANK_W + ADDR_W),
        .DEPTH(2)
    ) u_reads (
        .clk_i,
        .rst_ni,
        .in_valid_i(s1_valid_q && s1_ready),
        .in_ready_o(reads_ready[p]),
        .in_data_i({s1_zero_q, s1_bank_q, s1_addr_q[ADDR_W-1:0]}),
        .out_valid_o(read_valid),
        .out_ready_i(take),
        .out_data_o({read_zero, read_bank_o[p*BANK_W+:BANK_W], read_addr_o[p*ADDR_W+:ADDR_W]}),
        .count_o()
    );

    // Read in three cycles, stages 2 to 4, put into the buffer.
    logic [4:2] valid_q, zero_q;
    logic space_q;
    logic [CountW-1:0] count, owed_q;  // owed: words that the buffer holds or will

    assign read_valid_o[p] = read_valid && !read_zero && space_q;
    assign take = read_valid && space_q && (read_zero || read_ready_i[p]);

    always_ff @(posedge clk_i) begin
      if (!rst_ni) begin
        valid_q <= '0;
        owed_q  <= '0;
        space_q <= 1'b0;
      end else begin
        valid_q <= {valid_q[3:2], take};
        owed_q  <= owed_q + CountW'(take) - CountW'(valid_o && ready_i);
        space_q <= owed_q < CountW'(DEPTH - 1);  // also if a word is taken now
      end
      zero_q <= {zero_q[3:2], read_zero};
    end

    logic [T_P*DW-1:0] s4_word;
    assign s4_word = zero_q[4] ? '0 : read_data_i[p*T_P*DW+:T_P*DW];

    unzip_fifo #(
        .WIDTH(T_P * DW),
        .DEPTH(DEPTH)
    ) u_words (
        .clk_i,
        .rst_ni,
        .in_valid_i(valid_q[4]),
        .in_ready_o(),
        .in_data_i(s4_word),
        .out_valid_o(words_valid[p]),
        .out_ready_i(valid_o && ready_i),
        .out_data_o(words[p*T_P*DW+:T_P*DW]),
        .count_o(count)
    );

    assign busy[p] = read_valid || valid_q != '0 || words_valid[p];

    // The entry address counts modulo 2^16; the compiler keeps every address that is read inside.
    `UNZIP_ASSERT(AddressInside, !s1_valid_q || s1_zero_q || int'(s1_addr_q) < ACT_DEPTH, clk_i,
                  rst_ni)
    `UNZIP_ASSERT(BufferHasSpace, !valid_q[4] || count != CountW'(DEPTH), clk_i, rst_ni)
  end

  // ---- Words in the order of their blocks ----------------------------------------------------------
  if (WORDS == 1) begin : g_word
    assign data_o = words;
  end else begin : g_words
    logic [NumberW-1:0] s1_port_q, port;  // of the group's first word

    always_ff @(posedge clk_i) if (en) s1_port_q <= NumberW'(first_bank);

    unzip_fifo #(
        .WIDTH(NumberW),
        .DEPTH(2 * DEPTH)  // more than are asked for and buffered
    ) u_ports (
        .clk_i,
        .rst_ni,
        .in_valid_i(s1_valid_q && s1_ready),
        .in_ready_o(),
        .in_data_i(s1_port_q),
        .out_valid_o(),
        .out_ready_i(valid_o && ready_i),
        .out_data_o(port),
        .count_o()
    );
    for (genvar k = 0; k < WORDS; k++) begin : g_order
      logic [NumberW-1:0] from;
      assign from = port + NumberW'(k);
      assign data_o[k*T_P*DW+:T_P*DW] = words[from*T_P*DW+:T_P*DW];
    end
  end

  `UNZIP_ASSERT(OneTileAtATime, !start_i || !(run_q || s1_valid_q || busy != '0), clk_i, rst_ni)

endmodule
