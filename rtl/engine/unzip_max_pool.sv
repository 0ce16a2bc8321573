// SPDX-License-Identifier: Apache-2.0
// Streaming max pooling: KxK windows, K = 2 or 3, over pixels that come in raster order.
//
// Mathematics: out[y][x] = max of in[y*stride - pad + i][x*stride - pad + j], 0 <= i, j < kernel, over
// the positions inside the input. First the maximum over the window's rows, from two line buffers,
// then over its columns, from two registers a group.
//
// Interface: a stream of groups of Q channels, all groups of a pixel one after the other, without
// back-pressure. restart_i comes at least three cycles before the first word of a map. A window is put
// out with the word that completes it: kernel, stride and pad must be such that no two windows end at
// one pixel (the compiler checks this). The other inputs of the map are stable from restart_i on while
// words are in flight.
// Throughput: one word a cycle, latency three cycles.
`include "unzip_assert.svh"
`include "unzip_limits.svh"

module unzip_max_pool #(
    parameter int Q = 4,  // channels of a word
    parameter int DW = 8,  // bits of a channel
    parameter int GROUPS = 2,  // most groups of a pixel
    parameter int POOL_DEPTH = 32  // most words of a row: groups of a pixel times columns
) (
    input logic clk_i,
    input logic rst_ni,

    input logic [ 1:0] kernel_i,
    input logic [ 1:0] stride_i,
    input logic [ 1:0] pad_i,
    input logic [11:0] in_h_i,
    input logic [11:0] in_w_i,
    input logic [11:0] out_h_i,
    input logic [11:0] out_w_i,

    input logic            early_i,        // valid_i in the next cycle: the line buffers are read
    input logic            valid_i,
    input logic            restart_i,
    input logic            group_first_i,
    input logic            group_last_i,
    input logic [Q*DW-1:0] data_i,

    output logic            valid_o,       // a window is complete
    output logic            row_end_o,     // with valid_o: last group of the last window of a row
    output logic            group_last_o,
    output logic [Q*DW-1:0] data_o
);

  `UNZIP_LIMIT_LOWEST(Q, "Q", 1)
  `UNZIP_LIMIT_DW
  `UNZIP_LIMIT_LOWEST(GROUPS, "GROUPS", 1)
  `UNZIP_LIMIT_LOWEST(POOL_DEPTH, "POOL_DEPTH", 2)

  localparam int AddrW = $clog2(POOL_DEPTH);
  localparam int GroupW = GROUPS > 1 ? $clog2(GROUPS) : 1;
  localparam int WordW = Q * DW;

  // Of the first of three, of the first two or of all, with all comparisons side by side.
  function automatic logic [WordW-1:0] maxima3(input logic [1:0] others, input logic [WordW-1:0] a,
                                               input logic [WordW-1:0] b,
                                               input logic [WordW-1:0] c);
    logic a_b, a_c, b_c;
    for (int l = 0; l < Q; l++) begin
      a_b = others == 2'd0 || $signed(a[l*DW+:DW]) > $signed(b[l*DW+:DW]);
      a_c = others <= 2'd1 || $signed(a[l*DW+:DW]) > $signed(c[l*DW+:DW]);
      b_c = others <= 2'd1 || $signed(b[l*DW+:DW]) > $signed(c[l*DW+:DW]);
      maxima3[l*DW+:DW] = a_b && a_c ? a[l*DW+:DW] : b_c && !a_b ? b[l*DW+:DW] : c[l*DW+:DW];
    end
  endfunction

  function automatic logic [WordW-1:0] maxima(input logic [WordW-1:0] a, input logic [WordW-1:0] b);
    for (int l = 0; l < Q; l++) begin
      maxima[l*DW+:DW] = $signed(a[l*DW+:DW]) > $signed(b[l*DW+:DW]) ? a[l*DW+:DW] : b[l*DW+:DW];
    end
  endfunction

  // ---- Position ----------------------------------------------------------------------------------
  // start, end: first and last input row or column of the window that ends next (start is negative in
  // the padding).
  logic [11:0] x_q, y_q, out_x_q, out_y_q;
  logic signed [12:0] start_x_q, start_y_q, end_x_q, end_y_q, first_start_q, first_end_q;
  logic [GroupW-1:0] group_q, group;
  logic [AddrW-1:0] addr_q, next_addr, early_addr;
  // Whether a window ends in this row or column, whether the row or column is the last one, and the
  // same of the first ones, each in a register.
  logic x_last_q, x_one_q, emit_row_q, emit_col_q, emit_row0_q, emit_col0_q;
  logic [1:0] restart_q;
  logic restart;
  logic emit_row_next, emit_col_next;
  logic [1:0] rows, cols;
  logic signed [12:0] next_x, next_y;
  logic [11:0] x_before_q, y_before_q;  // the last but one
  logic next_x_last, next_y_last;

  // What a map begins with, two cycles after it is known what kind of map comes.
  always_ff @(posedge clk_i) begin
    first_start_q <= 13'd0 - 13'(pad_i);
    first_end_q <= 13'(kernel_i) - 13'(pad_i) - 13'sd1;
    x_before_q <= in_w_i - 12'd2;
    y_before_q <= in_h_i - 12'd2;
    x_one_q <= in_w_i == 12'd1;
    emit_col0_q <= out_w_i != '0 && (first_end_q == 0 || x_one_q);
    emit_row0_q <= out_h_i != '0 && (first_end_q == 0 || in_h_i == 12'd1);
    restart_q <= {restart_q[0], restart_i};
  end
  assign restart = restart_q[1];
  assign group = group_first_i ? '0 : group_q;
  // Of the next column, the next row.
  assign emit_col_next = emit_col_q ?
      out_x_q + 1'b1 != out_w_i && (next_x == end_x_q + 13'(stride_i) || next_x_last) :
      out_x_q != out_w_i && (next_x == end_x_q || next_x_last);
  assign emit_row_next = emit_row_q ?
      out_y_q + 1'b1 != out_h_i && (next_y == end_y_q + 13'(stride_i) || next_y_last) :
      out_y_q != out_h_i && (next_y == end_y_q || next_y_last);
  assign next_x = {1'b0, x_q} + 13'd1;
  assign next_y = {1'b0, y_q} + 13'd1;
  assign next_x_last = x_q == x_before_q;
  assign next_y_last = y_q == y_before_q;
  assign rows = 2'(y_q - (start_y_q < 0 ? 12'd0 : 12'(start_y_q)));  // of the window above this one
  assign cols = 2'(x_q - (start_x_q < 0 ? 12'd0 : 12'(start_x_q)));
  assign next_addr = group_last_i && x_last_q ? '0 : addr_q + 1'b1;
  assign early_addr = valid_i ? next_addr : addr_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || restart) begin
      addr_q <= '0;
    end else if (valid_i) begin
      addr_q <= next_addr;
    end
    if (restart) begin
      x_q <= '0;
      x_last_q <= x_one_q;
      y_q <= '0;
      out_x_q <= '0;
      out_y_q <= '0;
      start_x_q <= first_start_q;
      start_y_q <= first_start_q;
      end_x_q <= first_end_q;
      end_y_q <= first_end_q;
      emit_col_q <= emit_col0_q;
      emit_row_q <= emit_row0_q;
    end else if (valid_i && group_last_i) begin
      x_q <= x_q + 1'b1;
      x_last_q <= next_x_last;
      emit_col_q <= emit_col_next;
      if (emit_col_q) begin
        out_x_q   <= out_x_q + 1'b1;
        start_x_q <= start_x_q + 13'(stride_i);
        end_x_q   <= end_x_q + 13'(stride_i);
      end
      if (x_last_q) begin
        x_q <= '0;
        x_last_q <= x_one_q;
        emit_col_q <= emit_col0_q;
        y_q <= y_q + 1'b1;
        emit_row_q <= emit_row_next;
        out_x_q <= '0;
        start_x_q <= first_start_q;
        end_x_q <= first_end_q;
        if (emit_row_q) begin
          out_y_q   <= out_y_q + 1'b1;
          start_y_q <= start_y_q + 13'(stride_i);
          end_y_q   <= end_y_q + 13'(stride_i);
        end
      end
    end
    if (valid_i) group_q <= group + 1'b1;
  end

  // ---- Maximum over rows -------------------------------------------------------------------------
  logic [WordW-1:0] above1, above2;  // the same column, one and two rows above

  // The first row of a map reads what is left of the map before, and does not use it.
  unzip_ram #(
      .WIDTH(WordW),
      .DEPTH(POOL_DEPTH)
  ) u_line1 (
      .clk_i,
      .we_i(valid_i),
      .wmask_i(1'b1),
      .waddr_i(addr_q),
      .wdata_i(data_i),
      .re_i(early_i),
      .raddr_i(early_addr),
      .rdata_o(above1)
  );

  unzip_ram #(
      .WIDTH(WordW),
      .DEPTH(POOL_DEPTH)
  ) u_line2 (
      .clk_i,
      .we_i(valid_i),
      .wmask_i(1'b1),
      .waddr_i(addr_q),
      .wdata_i(above1),
      .re_i(early_i),
      .raddr_i(early_addr),
      .rdata_o(above2)
  );

  // Stage 0: the column's words, as they come from the memories.
  logic s0_valid_q, s0_emit_q, s0_group_last_q, s0_row_end_q;
  logic [1:0] s0_rows_q, s0_cols_q;
  logic [GroupW-1:0] s0_group_q;
  logic [WordW-1:0] data_q, above1_q, above2_q;

  always_ff @(posedge clk_i) begin
    s0_valid_q <= rst_ni && valid_i;
    if (valid_i) begin
      data_q <= data_i;
      above1_q <= above1;
      above2_q <= above2;
      s0_emit_q <= emit_row_q && emit_col_q;
      s0_group_last_q <= group_last_i;
      s0_row_end_q <= out_x_q + 1'b1 == out_w_i;
      s0_rows_q <= rows;
      s0_cols_q <= cols;
      s0_group_q <= group;
    end
  end

  // Stage 1: their maximum.
  logic [WordW-1:0] column, column_q;
  logic s1_valid_q, s1_emit_q, s1_group_last_q, s1_row_end_q;
  logic [1:0] s1_cols_q;
  logic [GroupW-1:0] s1_group_q;

  assign column = maxima3(s0_rows_q, data_q, above1_q, above2_q);

  always_ff @(posedge clk_i) begin
    s1_valid_q <= rst_ni && s0_valid_q;
    if (s0_valid_q) begin
      column_q <= column;
      s1_emit_q <= s0_emit_q;
      s1_group_last_q <= s0_group_last_q;
      s1_row_end_q <= s0_row_end_q;
      s1_cols_q <= s0_cols_q;
      s1_group_q <= s0_group_q;
    end
  end

  // ---- Maximum over columns ----------------------------------------------------------------------
  logic [WordW-1:0] left1_mem[1<<GroupW];  // column to the left
  logic [WordW-1:0] left2_mem[1<<GroupW];  // maximum of the two columns to the left
  logic [WordW-1:0] left1, left2, window_q;
  logic valid_q, row_end_q, group_last_q;

  assign left1 = left1_mem[s1_group_q];
  assign left2 = left2_mem[s1_group_q];

  always_ff @(posedge clk_i) begin
    valid_q <= rst_ni && s1_valid_q && s1_emit_q;
    if (s1_valid_q) begin
      window_q <= s1_cols_q == 2'd0 ? column_q : maxima(
          column_q, s1_cols_q == 2'd1 ? left1 : left2
      );
      row_end_q <= s1_row_end_q && s1_group_last_q;
      group_last_q <= s1_group_last_q;
      left1_mem[s1_group_q] <= column_q;
      left2_mem[s1_group_q] <= maxima(column_q, left1);
    end
  end

  assign valid_o = valid_q;
  assign row_end_o = row_end_q;
  assign group_last_o = group_last_q;
  assign data_o = window_q;

  `UNZIP_ASSERT(RowFits, !valid_i || int'(addr_q) < POOL_DEPTH, clk_i, rst_ni)
  logic early_q;
  always_ff @(posedge clk_i) early_q <= early_i;
  `UNZIP_ASSERT(EarlyComesFirst, !valid_i || early_q, clk_i, rst_ni)

endmodule
