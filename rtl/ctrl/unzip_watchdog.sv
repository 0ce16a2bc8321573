// SPDX-License-Identifier: Apache-2.0
// Watchdog: says when a program runs and nothing has moved for as many cycles as software allows.
//
// Interface: moved_i is 1 in a cycle in which anything moves; expired_o rises when it was 0 for limit_i cycles
// of run_i in a row, and falls when something moves or run_i ends. A limit of 0 turns it off.
// Throughput: every cycle; expired_o comes two cycles late.

module unzip_watchdog (
    input logic clk_i,
    input logic rst_ni,

    input  logic        run_i,
    input  logic [31:0] limit_i,
    input  logic        moved_i,
    output logic        expired_o
);

  logic [31:0] count_q;
  logic still_q;

  always_ff @(posedge clk_i) begin
    still_q   <= rst_ni && run_i && !moved_i;
    expired_o <= still_q && limit_i != '0 && count_q >= limit_i - 32'd1;
    if (!still_q) begin
      count_q <= '0;
    end else if (count_q != '1) begin
      count_q <= count_q + 1'b1;
    end
  end

endmodule
