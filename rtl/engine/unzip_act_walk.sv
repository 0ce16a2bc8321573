// SPDX-License-Identifier: Apache-2.0
// Walks the words of a tensor view in the activation memory: block by block, row by row.
//
// Mathematics: word (block, y, x) of the view lies in
//   bank  = ((x >> shift) + block + first bank) mod ACT_BANKS
//   entry = base + block*block_pitch + y*row_pitch + unzip_pkg::act_column(x, shift, log2(ACT_BANKS))
// Interface: start_i takes a view and goes to its first word, next_i goes to the next one; bank_o and
// entry_o are those of the present word. valid_o: there is one, from two cycles after start_i on.
// Throughput: one word a cycle.
`include "unzip_limits.svh"

module unzip_act_walk #(
    parameter int ACT_BANKS = 2,
    localparam int BANK_W = $clog2(ACT_BANKS)
) (
    input logic clk_i,
    input logic start_i,
    input logic next_i,

    input logic [      15:0] base_i,   // entry of the first word
    input logic [      11:0] row_i,    // entries of a bank per row
    input logic [      15:0] block_i,  // entries of a bank per channel block
    input logic [       1:0] shift_i,
    input logic [BANK_W-1:0] bank_i,   // of the first word
    input logic [      11:0] width_i,  // words per row
    input logic [      11:0] rows_i,   // rows per channel block

    output logic              valid_o,
    output logic [BANK_W-1:0] bank_o,
    output logic [      15:0] entry_o
);

  `UNZIP_LIMIT_ACT_BANKS

  logic [11:0]
      x_q, y_q, row_q, x_before_q, y_before_q;  // before: the last but one of a row, a block
  logic [15:0] block_q;
  logic [ 1:0] shift_q;
  logic [15:0] row_entry_q, block_entry_q;  // of the row; of the block's first row
  logic [BANK_W-1:0] bank_q;
  logic x_last_q, y_last_q, one_column_q, one_row_q, first_q, step;

  // The position is one word ahead of what is put out.
  assign step = first_q || next_i;

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      x_q <= '0;
      y_q <= '0;
      row_entry_q <= base_i;
      block_entry_q <= base_i;
      bank_q <= bank_i;
      row_q <= row_i;
      block_q <= block_i;
      shift_q <= shift_i;
      x_before_q <= width_i - 12'd2;
      y_before_q <= rows_i - 12'd2;
      x_last_q <= width_i == 12'd1;
      y_last_q <= rows_i == 12'd1;
      one_column_q <= width_i == 12'd1;
      one_row_q <= rows_i == 12'd1;
    end else if (step) begin
      x_q <= x_last_q ? '0 : x_q + 1'b1;
      x_last_q <= x_last_q ? one_column_q : x_q == x_before_q;
      if (x_last_q) begin
        y_q <= y_last_q ? '0 : y_q + 1'b1;
        y_last_q <= y_last_q ? one_row_q : y_q == y_before_q;
        row_entry_q <= row_entry_q + 16'(row_q);
        if (y_last_q) begin
          row_entry_q <= block_entry_q + block_q;
          block_entry_q <= block_entry_q + block_q;
          bank_q <= bank_q + 1'b1;
        end
      end
    end
  end

  always_ff @(posedge clk_i) begin
    first_q <= start_i;
    valid_o <= !start_i && (first_q || valid_o);
    if (step) begin
      bank_o  <= bank_q + BANK_W'(x_q >> shift_q);
      entry_o <= row_entry_q + unzip_pkg::act_column(14'(x_q), shift_q, BANK_W);
    end
  end

endmodule
