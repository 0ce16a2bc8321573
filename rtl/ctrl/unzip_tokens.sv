// SPDX-License-Identifier: Apache-2.0
// Dependency tokens: TOKENS counters of 4 bits that the stages give to and take from.
//
// Interface: STAGES masks of tokens to take and to give in this cycle. A stage takes only what
// available_o shows. overflow_o pulses, a cycle later, when a counter would pass 15, or two stages take the
// last token at once, for the stages that gave or took.
// Throughput: every stage can take and give every cycle; a given token is there in the next one.
`include "unzip_assert.svh"
`include "unzip_limits.svh"

module unzip_tokens #(
    parameter int TOKENS = 12,
    parameter int STAGES = 5
) (
    input logic clk_i,
    input logic rst_ni,

    input  logic [STAGES*TOKENS-1:0] take_i,
    input  logic [STAGES*TOKENS-1:0] give_i,
    output logic [       TOKENS-1:0] available_o,
    output logic [       STAGES-1:0] overflow_o
);

  `UNZIP_LIMIT_LOWEST(TOKENS, "TOKENS", 1)
  `UNZIP_LIMIT_RANGE(STAGES, "STAGES", 1, 7)

  logic [TOKENS-1:0] overflow_q;
  logic [STAGES*TOKENS-1:0] used_q;

  for (genvar t = 0; t < TOKENS; t++) begin : g_token
    logic [3:0] count_q;
    logic [2:0] taken, given;
    logic [4:0] count;

    always_comb begin
      taken = '0;
      given = '0;
      for (int s = 0; s < STAGES; s++) begin
        taken = taken + 3'(take_i[s*TOKENS+t]);
        given = given + 3'(give_i[s*TOKENS+t]);
      end
    end

    assign count = 5'(count_q) + 5'(given) - 5'(taken);
    assign available_o[t] = count_q != '0;

    always_ff @(posedge clk_i) begin
      if (!rst_ni) begin
        count_q <= '0;
      end else begin
        count_q <= count[3:0];
      end
      overflow_q[t] <= rst_ni && count[4];
    end
  end

  for (genvar s = 0; s < STAGES; s++) begin : g_stage
    assign overflow_o[s] = (used_q[s*TOKENS+:TOKENS] & overflow_q) != '0;
  end

  always_ff @(posedge clk_i) used_q <= give_i | take_i;

endmodule
