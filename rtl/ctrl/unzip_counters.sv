// SPDX-License-Identifier: Apache-2.0
// Performance counters of 64 bits, cleared at the start of a program.
//
// Interface: event_i counts by one each, bytes_*_i by their value, while run_i, a cycle late. Order of counters_o, the lowest
// first: cycles, MAC active, waiting for weights, for loads, for post, for stores, bank conflicts, bytes
// read, bytes written.
`include "unzip_limits.svh"

module unzip_counters #(
    parameter int EVENTS = 7
) (
    input logic clk_i,
    input logic rst_ni,
    input logic clear_i,
    input logic run_i,

    input  logic [       EVENTS-1:0] event_i,
    input  logic [              7:0] bytes_read_i,
    input  logic [              7:0] bytes_written_i,
    output logic [(EVENTS+2)*64-1:0] counters_o
);

  `UNZIP_LIMIT_LOWEST(EVENTS, "EVENTS", 1)

  logic [(EVENTS+2)*8-1:0] step, step_q;
  logic run_q;

  always_ff @(posedge clk_i) begin
    run_q  <= rst_ni && !clear_i && run_i;
    step_q <= step;
  end

  for (genvar e = 0; e < EVENTS; e++) begin : g_event
    assign step[e*8+:8] = {7'd0, event_i[e]};
  end
  assign step[EVENTS*8+:8] = bytes_read_i;
  assign step[(EVENTS+1)*8+:8] = bytes_written_i;

  for (genvar c = 0; c < EVENTS + 2; c++) begin : g_counter
    logic [63:0] count_q;
    always_ff @(posedge clk_i) begin
      if (!rst_ni || clear_i) begin
        count_q <= '0;
      end else if (run_q && step_q[c*8+:8] != '0) begin
        count_q <= count_q + 64'(step_q[c*8+:8]);
      end
    end
    assign counters_o[c*64+:64] = count_q;
  end

endmodule
