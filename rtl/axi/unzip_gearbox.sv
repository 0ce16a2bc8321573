// SPDX-License-Identifier: Apache-2.0
// Width converter between words of power-of-two widths, the lowest part first.
//
// Interface: valid/ready on both sides. flush_i goes with the last input: a wide word that is then
// incomplete is put out as it is, with only the parts in out_keep_o that were given. drop_i discards what is
// left of a wide input word whose last narrow part has been taken.
// Throughput: one word a cycle on the narrower side.
`include "unzip_limits.svh"

module unzip_gearbox #(
    parameter int IN_W = 64,  // bits
    parameter int OUT_W = 64,  // bits
    localparam int RATIO = OUT_W > IN_W ? OUT_W / IN_W : IN_W / OUT_W,
    localparam int KEEP_W = OUT_W > IN_W ? RATIO : 1
) (
    input logic clk_i,
    input logic rst_ni,

    input  logic            in_valid_i,
    output logic            in_ready_o,
    input  logic [IN_W-1:0] in_data_i,
    input  logic            flush_i,

    output logic              out_valid_o,
    input  logic              out_ready_i,
    output logic [ OUT_W-1:0] out_data_o,
    output logic [KEEP_W-1:0] out_keep_o,
    output logic              out_last_o,   // made from an input with flush_i
    input  logic              drop_i
);

  localparam int Wide = OUT_W > IN_W ? OUT_W : IN_W;
  localparam int Narrow = OUT_W > IN_W ? IN_W : OUT_W;

  `UNZIP_LIMIT_LOWEST(IN_W, "IN_W", 1)
  `UNZIP_LIMIT_LOWEST(OUT_W, "OUT_W", 1)
  `UNZIP_REQUIRE(RATIO, Wide == Narrow * RATIO && (RATIO & (RATIO - 1)) == 0,
                 ("IN_W (%0d) to OUT_W (%0d) is not a power-of-two ratio.", IN_W, OUT_W))

  localparam int CountW = RATIO > 1 ? $clog2(RATIO) : 1;

  logic full_q, last_q;
  logic [CountW-1:0] count_q;

  if (OUT_W > IN_W) begin : g_widen
    logic [OUT_W-1:0] data_q;
    logic [RATIO-1:0] keep_q;
    logic take;
    assign in_ready_o = !full_q || out_ready_i;
    assign take = in_valid_i && in_ready_o;
    always_ff @(posedge clk_i) begin
      if (!rst_ni) begin
        full_q  <= 1'b0;
        count_q <= '0;
      end else begin
        if (take) begin
          full_q  <= flush_i || count_q == CountW'(RATIO - 1);
          count_q <= flush_i ? '0 : count_q + 1'b1;
        end else if (out_ready_i) begin
          full_q <= 1'b0;
        end
      end
      if (take) begin
        for (int i = 0; i < RATIO; i++) begin
          if (count_q == CountW'(i)) begin
            data_q[i*IN_W+:IN_W] <= in_data_i;
            keep_q[i] <= 1'b1;
          end else if (count_q < CountW'(i)) begin
            keep_q[i] <= 1'b0;
          end
        end
        last_q <= flush_i;
      end
    end
    assign out_valid_o = full_q;
    assign out_data_o  = data_q;
    assign out_keep_o  = keep_q;
    assign out_last_o  = last_q;
    logic unused;
    assign unused = drop_i;
  end else begin : g_narrow
    logic [IN_W-1:0] data_q;
    logic part_last;
    assign part_last  = RATIO == 1 || count_q == CountW'(RATIO - 1);
    assign in_ready_o = !full_q || (out_ready_i && (part_last || drop_i));
    always_ff @(posedge clk_i) begin
      if (!rst_ni) begin
        full_q  <= 1'b0;
        count_q <= '0;
      end else if (in_valid_i && in_ready_o) begin
        full_q  <= 1'b1;
        count_q <= '0;
      end else if (full_q && out_ready_i) begin
        full_q  <= !(part_last || drop_i);
        count_q <= count_q + 1'b1;
      end
      if (in_valid_i && in_ready_o) begin
        data_q <= in_data_i;
        last_q <= flush_i;
      end
    end
    assign out_valid_o = full_q;
    assign out_data_o  = data_q[count_q*OUT_W+:OUT_W];
    assign out_keep_o  = 1'b1;
    assign out_last_o  = last_q && part_last;
  end

endmodule
