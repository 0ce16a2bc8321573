// SPDX-License-Identifier: Apache-2.0
// Streaming max pooling: KxK windows, K = 2 or 3, over pixels that come in raster order.
//
// Mathematics: out[y][x] = max of in[y*stride - pad + i][x*stride - pad + j], 0 <= i, j < kernel, over
// the positions inside the input. First the maximum over the window's rows, from two line buffers,
// then over its columns, from two registers a group.
//
// Interface: a stream of groups of Q channels, all groups of a pixel one after the other, without
// back-pressure. restart_i goes with the first word of a map. A window is put out with the
// word that completes it: kernel, stride and pad must be such that no two windows end at one pixel
// (the compiler checks this). The size inputs are stable while words are in flight.
// Throughput: one word a cycle, latency two cycles.
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

  function automatic logic [WordW-1:0] maxima(input logic [WordW-1:0] a, input logic [WordW-1:0] b);
    for (int l = 0; l < Q; l++) begin
      maxima[l*DW+:DW] = $signed(a[l*DW+:DW]) > $signed(b[l*DW+:DW]) ? a[l*DW+:DW] : b[l*DW+:DW];
    end
  endfunction

  // ---- Position ----------------------------------------------------------------------------------
  // start: first input row or column of the window that ends next (negative in the padding).
  logic [11:0] x_q, y_q, x, y, out_x_q, out_y_q, out_x, out_y;
  logic signed [12:0] start_x_q, start_y_q, start_x, start_y, end_x, end_y;
  logic [GroupW-1:0] group_q, group;
  logic [AddrW-1:0] addr_q, addr, next_addr, early_addr;
  logic x_last, emit_row, emit_col;
  logic [1:0] rows, cols;

  assign x = restart_i ? '0 : x_q;
  assign y = restart_i ? '0 : y_q;
  assign out_x = restart_i ? '0 : out_x_q;
  assign out_y = restart_i ? '0 : out_y_q;
  assign start_x = restart_i ? 13'd0 - 13'(pad_i) : start_x_q;
  assign start_y = restart_i ? 13'd0 - 13'(pad_i) : start_y_q;
  assign addr = restart_i ? '0 : addr_q;
  assign group = group_first_i ? '0 : group_q;
  assign end_x = start_x + 13'(kernel_i) - 13'sd1;
  assign end_y = start_y + 13'(kernel_i) - 13'sd1;
  assign x_last = x + 1'b1 == in_w_i;
  assign emit_col = out_x != out_w_i && ({1'b0, x} == end_x || x_last);
  assign emit_row = out_y != out_h_i && ({1'b0, y} == end_y || y + 1'b1 == in_h_i);
  assign rows = 2'(y - (start_y < 0 ? 12'd0 : 12'(start_y)));  // rows of the window above this one
  assign cols = 2'(x - (start_x < 0 ? 12'd0 : 12'(start_x)));
  assign next_addr = group_last_i && x_last ? '0 : addr + 1'b1;
  assign early_addr = valid_i ? next_addr : addr_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      addr_q <= '0;
    end else if (valid_i) begin
      addr_q <= next_addr;
    end
    if (valid_i) begin
      group_q <= group + 1'b1;
      x_q <= x;
      y_q <= y;
      out_x_q <= out_x;
      out_y_q <= out_y;
      start_x_q <= start_x;
      start_y_q <= start_y;
      if (group_last_i) begin
        x_q <= x + 1'b1;
        if (emit_col) begin
          out_x_q   <= out_x + 1'b1;
          start_x_q <= start_x + 13'(stride_i);
        end
        if (x_last) begin
          x_q <= '0;
          y_q <= y + 1'b1;
          out_x_q <= '0;
          start_x_q <= 13'd0 - 13'(pad_i);
          if (emit_row) begin
            out_y_q   <= out_y + 1'b1;
            start_y_q <= start_y + 13'(stride_i);
          end
        end
      end
    end
  end

  // ---- Maximum over rows -------------------------------------------------------------------------
  logic [WordW-1:0] above1, above2;  // the same column, one and two rows above

  // The word after a restart is at address 0, but its rows above are not used.
  unzip_ram #(
      .WIDTH(WordW),
      .DEPTH(POOL_DEPTH)
  ) u_line1 (
      .clk_i,
      .we_i(valid_i),
      .wmask_i(1'b1),
      .waddr_i(addr),
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
      .waddr_i(addr),
      .wdata_i(above1),
      .re_i(early_i),
      .raddr_i(early_addr),
      .rdata_o(above2)
  );

  logic [WordW-1:0] column, column_q;
  logic s1_valid_q, s1_emit_q, s1_group_last_q, s1_row_end_q;
  logic [1:0] s1_cols_q;
  logic [GroupW-1:0] s1_group_q;

  always_comb begin
    column = data_i;
    if (rows != 2'd0) column = maxima(column, above1);
    if (rows > 2'd1) column = maxima(column, above2);
  end

  always_ff @(posedge clk_i) begin
    s1_valid_q <= rst_ni && valid_i;
    if (valid_i) begin
      column_q <= column;
      s1_emit_q <= emit_row && emit_col;
      s1_group_last_q <= group_last_i;
      s1_row_end_q <= out_x + 1'b1 == out_w_i;
      s1_cols_q <= cols;
      s1_group_q <= group;
    end
  end

  // ---- Maximum over columns ----------------------------------------------------------------------
  logic [WordW-1:0] left1_mem[1<<GroupW];
  logic [WordW-1:0] left2_mem[1<<GroupW];
  logic [WordW-1:0] left1, left2, window, window_q;
  logic valid_q, row_end_q, group_last_q;

  assign left1 = left1_mem[s1_group_q];
  assign left2 = left2_mem[s1_group_q];

  always_comb begin
    window = column_q;
    if (s1_cols_q != 2'd0) window = maxima(window, left1);
    if (s1_cols_q > 2'd1) window = maxima(window, left2);
  end

  always_ff @(posedge clk_i) begin
    valid_q <= rst_ni && s1_valid_q && s1_emit_q;
    if (s1_valid_q) begin
      window_q <= window;
      row_end_q <= s1_row_end_q && s1_group_last_q;
      group_last_q <= s1_group_last_q;
      left1_mem[s1_group_q] <= column_q;
      left2_mem[s1_group_q] <= left1;
    end
  end

  assign valid_o = valid_q;
  assign row_end_o = row_end_q;
  assign group_last_o = group_last_q;
  assign data_o = window_q;

  `UNZIP_ASSERT(RowFits, !valid_i || int'(addr) < POOL_DEPTH, clk_i, rst_ni)
  logic early_q;
  always_ff @(posedge clk_i) early_q <= early_i;
  `UNZIP_ASSERT(EarlyComesFirst, !valid_i || early_q, clk_i, rst_ni)

endmodule
