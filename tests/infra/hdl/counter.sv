// SPDX-License-Identifier: Apache-2.0
//
// Counts up to LIMIT and wraps: the smallest design that tests the simulation runner.
module counter #(
    parameter int T_P   = 3,  // a name that every preset has, to see it arrive
    parameter int LIMIT = 5
) (
    input  logic       clk_i,
    input  logic       rst_ni,
    input  logic       enable_i,
    output logic [7:0] count_o,
    output logic [7:0] unreset_o,
    output logic [7:0] t_p_o
);

  logic [7:0] count_q;
  logic [7:0] unreset_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) count_q <= 8'd0;
    else if (enable_i) count_q <= (int'(count_q) == LIMIT - 1) ? 8'd0 : count_q + 8'd1;
  end

  // Never written: shows what registers hold before reset.
  always_ff @(posedge clk_i) unreset_q <= unreset_q;

  assign count_o   = count_q;
  assign unreset_o = unreset_q;
  assign t_p_o     = 8'(T_P);

endmodule
