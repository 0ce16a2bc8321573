// SPDX-License-Identifier: Apache-2.0
// Trace buffer: the marks of the stages with the performance counters at their time.
//
// Entry, eight words of 32 bits: stage[31:29] and id[15:0]; cycles; MAC active; waiting for weights; for
// loads; for post; bytes read; bytes written (the low 32 bits of each counter).
// Interface: STAGES mark streams, the lowest number first; a read port, data two cycles after the index.
// Throughput: one mark a cycle. Marks past TRACE_DEPTH are counted and dropped.
`include "unzip_limits.svh"

module unzip_trace #(
    parameter int TRACE_DEPTH = 64,
    parameter int STAGES = 5,
    localparam int INDEX_W = $clog2(TRACE_DEPTH)
) (
    input logic clk_i,
    input logic rst_ni,
    input logic clear_i,

    input  logic [   STAGES-1:0] mark_valid_i,
    output logic [   STAGES-1:0] mark_ready_o,
    input  logic [STAGES*16-1:0] mark_id_i,
    input  logic [     7*32-1:0] counters_i,    // cycles lowest

    output logic [       31:0] count_o,
    input  logic [INDEX_W-1:0] index_i,
    output logic [   8*32-1:0] data_o
);

  `UNZIP_LIMIT_TRACE_DEPTH
  `UNZIP_LIMIT_RANGE(STAGES, "STAGES", 1, 8)

  logic [2:0] stage;
  logic [15:0] id;
  logic [8*32-1:0] data;
  logic any;

  always_comb begin
    stage = '0;
    id = '0;
    mark_ready_o = '0;
    for (int s = STAGES - 1; s >= 0; s--) begin
      if (mark_valid_i[s]) begin
        stage = 3'(s);
        id = mark_id_i[s*16+:16];
        mark_ready_o = STAGES'(1) << s;
      end
    end
  end
  assign any = mark_valid_i != '0;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clear_i) begin
      count_o <= '0;
    end else if (any) begin
      count_o <= count_o + 1'b1;
    end
  end

  unzip_ram #(
      .WIDTH(8 * 32),
      .DEPTH(TRACE_DEPTH)
  ) u_entries (
      .clk_i,
      .we_i(any && count_o < TRACE_DEPTH),
      .wmask_i(1'b1),
      .waddr_i(count_o[INDEX_W-1:0]),
      .wdata_i({counters_i, stage, 13'd0, id}),
      .re_i(1'b1),
      .raddr_i(index_i),
      .rdata_o(data)
  );
  always_ff @(posedge clk_i) data_o <= data;

endmodule
