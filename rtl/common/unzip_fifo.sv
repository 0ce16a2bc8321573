// SPDX-License-Identifier: Apache-2.0
// First-in first-out buffer with first-word fall-through.
//
// Interface: valid/ready on both sides, no combinational path between them. `count_o` is the number
// of words held.
// Throughput: one word a cycle, latency one cycle.
`include "unzip_assert.svh"
`include "unzip_limits.svh"

module unzip_fifo #(
    parameter int WIDTH = 8,  // bits of a word
    parameter int DEPTH = 4   // words, a power of two, at least 2
) (
    input logic clk_i,
    input logic rst_ni,

    input  logic             in_valid_i,
    output logic             in_ready_o,
    input  logic [WIDTH-1:0] in_data_i,

    output logic             out_valid_o,
    input  logic             out_ready_i,
    output logic [WIDTH-1:0] out_data_o,

    output logic [$clog2(DEPTH):0] count_o
);

  `UNZIP_LIMIT_LOWEST(WIDTH, "WIDTH", 1)
  `UNZIP_LIMIT_POWER(DEPTH, "DEPTH")

  localparam int AddrW = $clog2(DEPTH);

  logic [WIDTH-1:0] mem[DEPTH];
  logic [AddrW:0] write_q, read_q;
  logic push, pop;

  assign count_o = write_q - read_q;
  assign in_ready_o = count_o != (AddrW + 1)'(DEPTH);
  assign out_valid_o = write_q != read_q;
  assign push = in_valid_i && in_ready_o;
  assign pop = out_valid_o && out_ready_i;
  assign out_data_o = mem[read_q[AddrW-1:0]];

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      write_q <= '0;
      read_q  <= '0;
    end else begin
      if (push) write_q <= write_q + 1'b1;
      if (pop) read_q <= read_q + 1'b1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (push) mem[write_q[AddrW-1:0]] <= in_data_i;
  end

  `UNZIP_ASSERT(CountFits, count_o <= (AddrW + 1)'(DEPTH), clk_i, rst_ni)

endmodule
