// SPDX-License-Identifier: Apache-2.0
// First-in first-out buffer with first-word fall-through.
//
// Interface: valid/ready on both sides, no combinational path between them; what comes out, out of registers.
// `count_o` is the number of words held.
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

  // The first word stands in a register, those behind it in a memory (of two words: in a register).
  // Every word is written to the memory, also one that goes straight to the first place.
  logic [WIDTH-1:0] data_q, second;
  logic [AddrW:0] count_q;
  logic valid_q, more_q;  // more: there are words behind the first
  logic push, pop, load, to_memory, from_memory;

  assign count_o = count_q;
  assign in_ready_o = !count_q[AddrW];
  assign out_valid_o = valid_q;
  assign out_data_o = data_q;
  assign push = in_valid_i && in_ready_o;
  assign pop = valid_q && out_ready_i;
  assign load = !valid_q || out_ready_i;
  assign from_memory = more_q && out_ready_i;
  assign to_memory = push && (more_q || !load);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      count_q <= '0;
      valid_q <= 1'b0;
      more_q  <= 1'b0;
    end else begin
      count_q <= count_q + (AddrW + 1)'(push) - (AddrW + 1)'(pop);
      if (load) valid_q <= more_q || push;
      more_q <= to_memory || (more_q && !(from_memory && count_q == (AddrW + 1)'(2)));
    end
    if (load) data_q <= more_q ? second : in_data_i;
  end

  if (DEPTH == 2) begin : g_register
    logic [WIDTH-1:0] second_q;
    always_ff @(posedge clk_i) begin
      if (push) second_q <= in_data_i;
    end
    assign second = second_q;
  end else begin : g_memory
    logic [WIDTH-1:0] mem[DEPTH];
    logic [AddrW-1:0] write_q, read_q;
    always_ff @(posedge clk_i) begin
      if (!rst_ni) begin
        write_q <= '0;
        read_q  <= '0;
      end else begin
        if (push) write_q <= write_q + 1'b1;
        if (load && (more_q || push)) read_q <= read_q + 1'b1;
      end
    end
    always_ff @(posedge clk_i) begin
      if (push) mem[write_q] <= in_data_i;
    end
    assign second = mem[read_q];
  end

  `UNZIP_ASSERT(CountFits, count_q <= (AddrW + 1)'(DEPTH), clk_i, rst_ni)

endmodule
