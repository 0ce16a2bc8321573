// SPDX-License-Identifier: Apache-2.0
// Pipelined sum of N signed terms, a register after every second level of adders.
//
// Mathematics: sum_o = term_0 + ... + term_(N-1), exact.
// Throughput: one sum a cycle, latency ceil(log2(N)/2) cycles.
`include "unzip_limits.svh"

module unzip_adder_tree #(
    parameter int N = 16,  // terms, a power of two, at least 2
    parameter int WIDTH = 19,  // bits of a term
    localparam int SUM_W = WIDTH + $clog2(N)
) (
    input logic clk_i,

    input  logic [N*WIDTH-1:0] terms_i,
    output logic [  SUM_W-1:0] sum_o
);

  `UNZIP_LIMIT_POWER(N, "N")
  `UNZIP_LIMIT_LOWEST(WIDTH, "WIDTH", 1)

  localparam int Levels = $clog2(N);

  for (genvar l = 0; l < Levels; l++) begin : g_level
    localparam int InW = WIDTH + l;
    localparam int Nodes = N >> (l + 1);
    logic [2*Nodes*InW-1:0] in;
    logic [Nodes*(InW+1)-1:0] sum, out;

    if (l == 0) begin : g_in
      assign in = terms_i;
    end else begin : g_in
      assign in = g_level[l-1].out;
    end

    always_comb begin
      for (int i = 0; i < Nodes; i++) begin
        sum[i*(InW+1)+:InW+1] = (InW + 1)'($signed(in[2*i*InW+:InW])) +
            (InW + 1)'($signed(in[(2*i+1)*InW+:InW]));
      end
    end

    if (l % 2 == 1 || l == Levels - 1) begin : g_out
      logic [Nodes*(InW+1)-1:0] sum_q;
      always_ff @(posedge clk_i) sum_q <= sum;
      assign out = sum_q;
    end else begin : g_out
      assign out = sum;
    end
  end

  assign sum_o = g_level[Levels-1].out;

endmodule
