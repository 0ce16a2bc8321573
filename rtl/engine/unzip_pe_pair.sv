// SPDX-License-Identifier: Apache-2.0
// Two processing elements (PEs): the dot products of two filters with the same operand word, their
// weight register files and their accumulators.
//
// Mathematics
//   dot_k = sum_{l < T_P} w_k[l] * x[l],  acc_k[row] += dot_k        k = 0, 1
//   PAIR = 1 takes one multiplier for both filters: with |w| <= 127 and N = 7 + OPERAND_W
//     p = (w1 * 2^N + w0) * x,   w0*x = signed p[N-1:0],   w1*x = signed (p >> N) + p[N-1]
//   That is a 27x12 product for operands of 12 bits (one DSP48E2), a 23x8 one for 8 (one DSP48E1).
//   weight_data_i then holds w1 - (w0 < 0) for filter 1, so that the packed word is w0's sign extension
//   below it: {w1 - (w0 < 0), N - 8 copies of w0's sign, w0}.
//   PAIR = 2 does the same with N = 5 + OPERAND_W, so that operands of 12 bits fit a DSP48E1: 25x12. The
//   lower product then has two bits more than N. What they add to the upper one, c = w0*x >> N from -2
//   to 1, is known modulo 4, as the lowest bits of w1*x follow from those of w1 and x:
//     c = signed ((p >> N)[1:0] - (w1[1:0]*x[1:0])[1:0]),  w0*x = {c, p[N-1:0]},  w1*x = (p >> N) - c
//   and dot_1 = sum_l (p_l >> N) - sum_l c_l: one subtraction for all lanes.
//   PAIR = 0 has one multiplier a filter and weight_data_i holds the weights themselves.
//
// Interface: no handshake; the PE array drives every enable. Register file and accumulator
// memories are double: the halves of the register file are an address bit, the accumulators two memories.
// Throughput: 2*T_P multiply-accumulates a cycle. Latency from operand to accumulator register:
// 5 + ceil(log2(T_P)/2) cycles: two registers in front of a multiplier and two behind it, as multipliers
// lie where the device has them. Every pair has a copy of the operand: tools that flatten would make one
// of all copies.
`include "unzip_limits.svh"

(* keep_hierarchy = "yes" *)
module unzip_pe_pair #(
    parameter int T_P = 8,  // MACs per PE
    parameter int T_R = 16,  // accumulator rows per bank
    parameter int D = 9,  // weight words per half of the register file
    parameter int DW = 8,  // bits of a weight
    parameter int PAIR = 1,  // 1, 2: both filters share the multipliers; 2: those of 25 bits
    parameter int OPERAND_W = DW + 4,  // bits of an operand: DW, or DW + 4 for projections
    localparam int ACC_W = DW == 8 ? 32 : 48,  // bits of an accumulator
    localparam int WEIGHT_AW = 1 + $clog2(D),  // register file address: half, step
    localparam int ROW_AW = $clog2(T_R)
) (
    input logic clk_i,

    // weights
    input logic [          1:0] weight_we_i,
    input logic [WEIGHT_AW-1:0] weight_waddr_i,
    input logic [ 2*T_P*DW-1:0] weight_data_i,   // filter 1, filter 0

    // multiply
    input logic [    WEIGHT_AW-1:0] weight_raddr_i,
    input logic [T_P*OPERAND_W-1:0] operand_i,

    // accumulate
    input logic              base_bank_i,   // bank whose read data is used
    input logic [       1:0] base_sel_i,    // 0: zero, 1: running sum, 2: memory, 3: last written
    input logic              acc_en_i,      // in the cycle after base_*_i
    input logic              acc_run_i,     // add to the running sum, not to the base
    input logic [       1:0] acc_we_i,      // one bit a bank
    input logic [ROW_AW-1:0] acc_waddr_i,
    input logic [       1:0] acc_re_i,
    input logic [ROW_AW-1:0] acc_raddr0_i,
    input logic [ROW_AW-1:0] acc_raddr1_i,

    // drain: read data of the bank that does not accumulate, two cycles after its acc_re_i
    input  logic               drain_bank_i,  // one cycle after it
    output logic [2*ACC_W-1:0] drain_data_o
);

  `UNZIP_LIMIT_T_P
  `UNZIP_LIMIT_T_R
  `UNZIP_LIMIT_D
  `UNZIP_LIMIT_DW
  `UNZIP_LIMIT_PAIR
  `UNZIP_LIMIT_OPERAND_W

  localparam int ProductW = DW + OPERAND_W - 1;  // a weight is never -2^(DW-1)
  localparam int SumW = ProductW + $clog2(T_P);

  // ---- Weight register files ---------------------------------------------------------------------
  logic [2*T_P*DW-1:0] read_q, weight_q;
  logic [WEIGHT_AW-1:0] raddr_q;
  logic [T_P*OPERAND_W-1:0] early_q, operand_q;

  always_ff @(posedge clk_i) begin
    raddr_q   <= weight_raddr_i;
    early_q   <= operand_i;
    operand_q <= early_q;
    weight_q  <= read_q;
  end

  for (genvar k = 0; k < 2; k++) begin : g_file
    (* ram_style = "distributed" *)
    // a block RAM and a multiplier in one cycle are too slow
    logic [T_P*DW-1:0] mem[1<<WEIGHT_AW];
`ifdef __ICARUS__
    initial for (int i = 0; i < (1 << WEIGHT_AW); i++) mem[i] = {T_P * DW / 8{8'($random)}};
`endif
    always_ff @(posedge clk_i) begin
      if (weight_we_i[k]) mem[weight_waddr_i] <= weight_data_i[k*T_P*DW+:T_P*DW];
      read_q[k*T_P*DW+:T_P*DW] <= mem[raddr_q];
    end
  end

  // ---- Multipliers -------------------------------------------------------------------------------
  logic [T_P*ProductW-1:0] product0, product1;
  logic [2*SumW-1:0] dot;
  logic [  SumW-1:0] sum1;  // of product1

  if (PAIR == 2) begin : g_overlapped
    localparam int Shift = ProductW - 2;
    localparam int PackedW = Shift + DW;
    localparam int WideW = PackedW + OPERAND_W;
    logic [2*T_P-1:0] carries;
    logic [$clog2(T_P)+1:0] carry_sum;
    for (genvar l = 0; l < T_P; l++) begin : g_lane
      logic [DW-1:0] weight0, weight1;
      logic signed [  PackedW-1:0] weights;
      logic signed [OPERAND_W-1:0] operand;
      logic signed [WideW-1:0] product_q, wide_q;
      logic [1:0] true1, early_low_q, low_q, carry;
      assign weight0 = weight_q[l*DW+:DW];
      assign weight1 = weight_q[(T_P+l)*DW+:DW];
      assign weights = $signed({weight1, {(Shift - DW) {weight0[DW-1]}}, weight0});
      assign operand = $signed(operand_q[l*OPERAND_W+:OPERAND_W]);
      // The lowest bits of filter 1's product: five bits in, two out.
      assign true1   = weight1[1:0] + 2'(weight0[DW-1]);
      always_ff @(posedge clk_i) begin
        product_q <= weights * operand;
        wide_q <= product_q;
        early_low_q <= true1 * operand[1:0];
        low_q <= early_low_q;
      end
      assign carry = wide_q[Shift+:2] - low_q;
      assign product0[l*ProductW+:ProductW] = {carry, wide_q[Shift-1:0]};
      assign product1[l*ProductW+:ProductW] = ProductW'(wide_q[WideW-1:Shift]);
      assign carries[2*l+:2] = carry;
    end
    unzip_adder_tree #(
        .N(T_P),
        .WIDTH(2)
    ) u_carries (
        .clk_i,
        .terms_i(carries),
        .sum_o  (carry_sum)
    );
    assign dot[SumW+:SumW] = sum1 - SumW'($signed(carry_sum));
  end else if (PAIR != 0) begin : g_packed
    localparam int PackedW = ProductW + DW;
    localparam int WideW = PackedW + OPERAND_W;
    for (genvar l = 0; l < T_P; l++) begin : g_lane
      logic signed [  PackedW-1:0] weights;
      logic signed [OPERAND_W-1:0] operand;
      logic signed [WideW-1:0] product_q, wide_q;
      assign weights = $signed(
          {weight_q[(T_P+l)*DW+:DW], {(ProductW - DW) {weight_q[l*DW+DW-1]}}, weight_q[l*DW+:DW]}
      );
      assign operand = $signed(operand_q[l*OPERAND_W+:OPERAND_W]);
      always_ff @(posedge clk_i) begin
        product_q <= weights * operand;
        wide_q <= product_q;
      end
      assign product0[l*ProductW+:ProductW] = wide_q[ProductW-1:0];
      assign product1[l*ProductW+:ProductW] =
          ProductW'(wide_q[WideW-1:ProductW]) + ProductW'(wide_q[ProductW-1]);
    end
    assign dot[SumW+:SumW] = sum1;
  end else begin : g_single
    for (genvar l = 0; l < T_P; l++) begin : g_lane
      logic signed [ProductW-1:0] early0_q, early1_q, product0_q, product1_q;
      logic signed [OPERAND_W-1:0] operand;
      assign operand = $signed(operand_q[l*OPERAND_W+:OPERAND_W]);
      always_ff @(posedge clk_i) begin
        early0_q <= ProductW'($signed(weight_q[l*DW+:DW]) * operand);
        early1_q <= ProductW'($signed(weight_q[(T_P+l)*DW+:DW]) * operand);
      end
      always_ff @(posedge clk_i) begin
        product0_q <= early0_q;
        product1_q <= early1_q;
      end
      assign product0[l*ProductW+:ProductW] = product0_q;
      assign product1[l*ProductW+:ProductW] = product1_q;
    end
    assign dot[SumW+:SumW] = sum1;
  end

  unzip_adder_tree #(
      .N(T_P),
      .WIDTH(ProductW)
  ) u_tree0 (
      .clk_i,
      .terms_i(product0),
      .sum_o  (dot[SumW-1:0])
  );

  unzip_adder_tree #(
      .N(T_P),
      .WIDTH(ProductW)
  ) u_tree1 (
      .clk_i,
      .terms_i(product1),
      .sum_o  (sum1)
  );

  // ---- Accumulators ------------------------------------------------------------------------------
  logic [2*ACC_W-1:0] acc_q, written_q, rdata0, rdata1, base_q;

  always_ff @(posedge clk_i) begin
    case (base_sel_i)
      2'd0: base_q <= '0;
      2'd1: base_q <= acc_q;
      2'd2: base_q <= base_bank_i ? rdata1 : rdata0;
      default: base_q <= written_q;
    endcase
  end

  for (genvar k = 0; k < 2; k++) begin : g_acc
    always_ff @(posedge clk_i) begin
      if (acc_en_i) begin
        acc_q[k*ACC_W+:ACC_W] <= (acc_run_i ? acc_q[k*ACC_W+:ACC_W] : base_q[k*ACC_W+:ACC_W]) +
            ACC_W'($signed(dot[k*SumW+:SumW]));
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (acc_we_i != 2'b00) written_q <= acc_q;
  end

  unzip_ram #(
      .WIDTH(2 * ACC_W),
      .DEPTH(T_R)
  ) u_acc0 (
      .clk_i,
      .we_i(acc_we_i[0]),
      .wmask_i(1'b1),
      .waddr_i(acc_waddr_i),
      .wdata_i(acc_q),
      .re_i(acc_re_i[0]),
      .raddr_i(acc_raddr0_i),
      .rdata_o(rdata0)
  );

  unzip_ram #(
      .WIDTH(2 * ACC_W),
      .DEPTH(T_R)
  ) u_acc1 (
      .clk_i,
      .we_i(acc_we_i[1]),
      .wmask_i(1'b1),
      .waddr_i(acc_waddr_i),
      .wdata_i(acc_q),
      .re_i(acc_re_i[1]),
      .raddr_i(acc_raddr1_i),
      .rdata_o(rdata1)
  );

  logic [2*ACC_W-1:0] drain_data_q;
  always_ff @(posedge clk_i) drain_data_q <= drain_bank_i ? rdata1 : rdata0;
  assign drain_data_o = drain_data_q;

endmodule
