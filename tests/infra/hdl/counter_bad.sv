// SPDX-License-Identifier: Apache-2.0
//
// The counter with a fault for each of the runner's checks, chosen by a macro-free parameter.
module counter_bad #(
    parameter int FAULT = 0  // 1: $fatal during the run, 2: $finish before the tests end
) (
    input  logic       clk_i,
    input  logic       rst_ni,
    input  logic       enable_i,
    output logic [7:0] count_o,
    output logic [7:0] unreset_o,
    output logic [7:0] t_p_o
);

  logic [7:0] cycle_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) cycle_q <= 8'd0;
    else cycle_q <= cycle_q + 8'd1;
  end

  always_ff @(posedge clk_i) begin
    if (rst_ni && cycle_q == 8'd20) begin
      if (FAULT == 1) $fatal(1, "planted");
      if (FAULT == 2) $finish;
    end
  end

  counter u_counter (
      .clk_i,
      .rst_ni,
      .enable_i,
      .count_o,
      .unreset_o,
      .t_p_o
  );

endmodule
