// SPDX-License-Identifier: Apache-2.0
// Activation memory: a scratchpad of ACT_BANKS banks, each with one read and one write port.
//
// Mapping (computed by the clients): word (block, y, x) of a tensor view lies in
//   bank  = ((x >> shift) + block + first bank) mod ACT_BANKS
//   entry = base + block*block_pitch + y*row_pitch + ((x >> (shift + log2(ACT_BANKS))) << shift)
//         + (x mod 2^shift)
// Interface
//   window_*  the S ports of the window reader, granted every cycle unless one of the next two has
//             waited 15 cycles; no two of them ask for the same bank in one cycle
//   store_*   the store reader, granted when its bank is free
//   residual_*  the residual prefetcher, granted when neither of these takes its bank; having waited
//             15 cycles, it goes before a store reader that has not
//   post_*    writes groups of Q lanes, always granted
//   load_*    writes whole words, granted when its bank is free
// Read data follows its grant by two cycles: the read ports of the banks come out of registers.
// Throughput: a read and a write a cycle and bank.
`include "unzip_assert.svh"
`include "unzip_limits.svh"

module unzip_act_mem #(
    parameter int T_P = 8,  // activations of a word
    parameter int DW = 8,  // bits of an activation
    parameter int Q = 4,  // activations written together
    parameter int S = 1,  // ports of the window reader
    parameter int ACT_BANKS = 2,  // banks, a power of two, at least 2
    parameter int ACT_DEPTH = 512,  // words per bank
    localparam int BANK_W = $clog2(ACT_BANKS),
    localparam int ADDR_W = $clog2(ACT_DEPTH),
    localparam int PARTS = T_P / Q
) (
    input logic clk_i,
    input logic rst_ni,

    input  logic [       S-1:0] window_valid_i,
    output logic                window_ready_o,
    input  logic [S*BANK_W-1:0] window_bank_i,
    input  logic [S*ADDR_W-1:0] window_addr_i,
    output logic [S*T_P*DW-1:0] window_data_o,

    input  logic              store_valid_i,
    output logic              store_ready_o,
    input  logic [BANK_W-1:0] store_bank_i,
    input  logic [ADDR_W-1:0] store_addr_i,
    output logic [T_P*DW-1:0] store_data_o,

    input  logic              residual_valid_i,
    output logic              residual_ready_o,
    input  logic [BANK_W-1:0] residual_bank_i,
    input  logic [ADDR_W-1:0] residual_addr_i,
    output logic [T_P*DW-1:0] residual_data_o,

    input logic              post_valid_i,
    input logic [BANK_W-1:0] post_bank_i,
    input logic [ADDR_W-1:0] post_addr_i,
    input logic [ PARTS-1:0] post_mask_i,
    input logic [T_P*DW-1:0] post_data_i,

    input  logic              load_valid_i,
    output logic              load_ready_o,
    input  logic [BANK_W-1:0] load_bank_i,
    input  logic [ADDR_W-1:0] load_addr_i,
    input  logic [T_P*DW-1:0] load_data_i
);

  `UNZIP_LIMIT_T_P
  `UNZIP_LIMIT_DW
  `UNZIP_LIMIT_Q_T_P
  `UNZIP_LIMIT_ACT_BANKS
  `UNZIP_LIMIT_S
  `UNZIP_LIMIT_ACT_BANKS_S
  `UNZIP_LIMIT_ACT_DEPTH

  localparam int WordW = T_P * DW;

  // The store reader and the residual prefetcher wait for an idle cycle of their bank, but not for ever.
  logic [3:0] store_wait_q, residual_wait_q;
  logic store_take, residual_take, store_starved, residual_starved;  // waited 15 cycles
  logic store_starves, residual_starves;  // will have
  logic [S-1:0] before_store, before_residual;  // window ports that take the bank

  for (genvar k = 0; k < S; k++) begin : g_window
    logic taken;
    assign taken = window_valid_i[k] && window_ready_o;
    assign before_store[k] = taken && window_bank_i[k*BANK_W+:BANK_W] == store_bank_i;
    assign before_residual[k] = taken && window_bank_i[k*BANK_W+:BANK_W] == residual_bank_i;
  end

  assign store_starves = store_valid_i && !store_ready_o && store_wait_q == 4'd14;
  assign residual_starves = residual_valid_i && !residual_ready_o &&
      (residual_starved || residual_wait_q == 4'd14);
  assign store_ready_o = before_store == '0 &&
      (!residual_starved || store_starved || residual_bank_i != store_bank_i);
  assign store_take = store_valid_i && store_ready_o;
  assign residual_ready_o = before_residual == '0 &&
      (!store_valid_i || store_bank_i != residual_bank_i || (residual_starved && !store_starved));
  assign residual_take = residual_valid_i && residual_ready_o;
  assign load_ready_o = !post_valid_i || post_bank_i != load_bank_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      store_wait_q <= '0;
    end else if (store_valid_i && !store_ready_o) begin
      store_wait_q <= store_wait_q + 1'b1;
    end else begin
      store_wait_q <= '0;
    end
    if (!rst_ni || !residual_valid_i || residual_ready_o) begin
      residual_wait_q <= '0;
    end else if (!residual_starved) begin
      residual_wait_q <= residual_wait_q + 1'b1;
    end
    store_starved <= rst_ni && store_starves;
    residual_starved <= rst_ni && residual_starves;
    window_ready_o <= !rst_ni || !(store_starves || residual_starves);
  end

  logic [ACT_BANKS*WordW-1:0] rdata;
  // Banks of the reads that were granted in the last cycle, and of those whose data is there.
  logic [S*BANK_W-1:0] window_bank_q, window_data_bank_q;
  logic [BANK_W-1:0] store_bank_q, store_data_bank_q, residual_bank_q, residual_data_bank_q;

  for (genvar b = 0; b < ACT_BANKS; b++) begin : g_bank
    logic [S-1:0] window_here;
    logic [ADDR_W-1:0] raddr, raddr_q;
    logic re_q;
    logic store_here, residual_here, post_here, load_here;
    for (genvar k = 0; k < S; k++) begin : g_window
      assign window_here[k] = window_valid_i[k] && window_ready_o &&
          window_bank_i[k*BANK_W+:BANK_W] == BANK_W'(b);
    end
    assign store_here = store_take && store_bank_i == BANK_W'(b);
    assign residual_here = residual_take && residual_bank_i == BANK_W'(b);
    assign post_here = post_valid_i && post_bank_i == BANK_W'(b);
    assign load_here = load_valid_i && load_ready_o && load_bank_i == BANK_W'(b);
    always_comb begin
      raddr = store_here ? store_addr_i : residual_addr_i;
      for (int k = 0; k < S; k++) begin
        if (window_here[k]) raddr = window_addr_i[k*ADDR_W+:ADDR_W];
      end
    end
    always_ff @(posedge clk_i) begin
      re_q <= window_here != '0 || store_here || residual_here;
      raddr_q <= raddr;
    end

    unzip_ram #(
        .WIDTH(WordW),
        .DEPTH(ACT_DEPTH),
        .MASKS(PARTS)
    ) u_ram (
        .clk_i,
        .we_i(post_here || load_here),
        .wmask_i(post_here ? post_mask_i : {PARTS{1'b1}}),
        .waddr_i(post_here ? post_addr_i : load_addr_i),
        .wdata_i(post_here ? post_data_i : load_data_i),
        .re_i(re_q),
        .raddr_i(raddr_q),
        .rdata_o(rdata[b*WordW+:WordW])
    );
  end

  always_ff @(posedge clk_i) begin
    window_bank_q <= window_bank_i;
    window_data_bank_q <= window_bank_q;
    store_bank_q <= store_bank_i;
    store_data_bank_q <= store_bank_q;
    residual_bank_q <= residual_bank_i;
    residual_data_bank_q <= residual_bank_q;
  end

  for (genvar k = 0; k < S; k++) begin : g_data
    assign window_data_o[k*WordW+:WordW] = rdata[window_data_bank_q[k*BANK_W+:BANK_W]*WordW+:WordW];
  end
  assign store_data_o = rdata[store_data_bank_q*WordW+:WordW];
  assign residual_data_o = rdata[residual_data_bank_q*WordW+:WordW];

  // Once it has waited 15 cycles, only a store reader that has too can come before it.
  logic late_q;
  always_ff @(posedge clk_i) late_q <= residual_valid_i && !residual_ready_o && residual_starved;
  `UNZIP_ASSERT(ResidualWaitIsBounded, !late_q || !residual_valid_i || residual_ready_o, clk_i,
                rst_ni)

  for (genvar k = 1; k < S; k++) begin : g_assert
    for (genvar j = 0; j < k; j++) begin : g_other
      `UNZIP_ASSERT(OneWindowPerBank,
                    !window_valid_i[k] || !window_valid_i[j] ||
                    window_bank_i[k*BANK_W+:BANK_W] != window_bank_i[j*BANK_W+:BANK_W],
                    clk_i, rst_ni)
    end
  end

endmodule
