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
//   residual_*  the ports of the residual prefetcher, each granted when neither of these takes its bank;
//             having waited 15 cycles, it goes before a store reader that has not
//   post_*    writes groups of Q lanes of a word, or WORDS whole words, always granted
//   load_*    writes whole words, granted when its bank is free
// Where Q is WORDS > 1 words, port w of residual_* and of post_* serves the banks whose number is w
// modulo WORDS: neighbouring channel blocks of a pixel have one word at each port.
// Read data follows its grant by three cycles: the banks have registers at their ports and outputs.
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
    localparam int PARTS = Q < T_P ? T_P / Q : 1,  // of a word
    localparam int WORDS = Q > T_P ? Q / T_P : 1  // written together
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

    input  logic [       WORDS-1:0] residual_valid_i,
    output logic [       WORDS-1:0] residual_ready_o,
    input  logic [WORDS*BANK_W-1:0] residual_bank_i,
    input  logic [WORDS*ADDR_W-1:0] residual_addr_i,
    output logic [WORDS*T_P*DW-1:0] residual_data_o,

    input logic [       WORDS-1:0] post_valid_i,
    input logic [WORDS*BANK_W-1:0] post_bank_i,
    input logic [WORDS*ADDR_W-1:0] post_addr_i,
    input logic [       PARTS-1:0] post_mask_i,
    input logic [WORDS*T_P*DW-1:0] post_data_i,

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
  `UNZIP_LIMIT_Q_ACT_BANKS
  `UNZIP_LIMIT_ACT_DEPTH

  localparam int WordW = T_P * DW;

  // The store reader and the residual prefetcher wait for an idle cycle of their bank, but not for ever.
  logic [3:0] store_wait_q;
  logic store_take, store_starved;  // starved: waited 15 cycles
  logic store_starves;  // will have
  logic [WORDS-1:0] residual_take, residual_starved, residual_starves;
  logic [S-1:0] before_store;  // window ports that take the bank
  logic [WORDS-1:0] residual_first;  // ports that go before the store reader
  logic [WORDS-1:0] post_first;  // ports that write into the load's bank
  // The arbiter's own copy of window_ready_o, which has many loads; they differ in reset only.
  logic window_go_q;

  for (genvar k = 0; k < S; k++) begin : g_window
    assign before_store[k] = window_valid_i[k] && window_go_q &&
        window_bank_i[k*BANK_W+:BANK_W] == store_bank_i;
  end

  assign store_starves = store_valid_i && !store_ready_o && store_wait_q == 4'd14;
  assign store_ready_o = before_store == '0 && (residual_first == '0 || store_starved);
  assign store_take = store_valid_i && store_ready_o;

  for (genvar w = 0; w < WORDS; w++) begin : g_residual
    logic [3:0] wait_q;
    logic [S-1:0] windows;  // those that take the bank
    logic [BANK_W-1:0] bank;
    assign bank = residual_bank_i[w*BANK_W+:BANK_W];
    for (genvar k = 0; k < S; k++) begin : g_window
      assign windows[k] = window_valid_i[k] && window_go_q &&
          window_bank_i[k*BANK_W+:BANK_W] == bank;
    end
    assign residual_first[w] = residual_starved[w] && bank == store_bank_i;
    assign residual_starves[w] = residual_valid_i[w] && !residual_ready_o[w] &&
        (residual_starved[w] || wait_q == 4'd14);
    assign residual_ready_o[w] = windows == '0 &&
        (!store_valid_i || store_bank_i != bank || (residual_starved[w] && !store_starved));
    assign residual_take[w] = residual_valid_i[w] && residual_ready_o[w];

    always_ff @(posedge clk_i) begin
      if (!rst_ni || !residual_valid_i[w] || residual_ready_o[w]) begin
        wait_q <= '0;
      end else if (!residual_starved[w]) begin
        wait_q <= wait_q + 1'b1;
      end
      residual_starved[w] <= rst_ni && residual_starves[w];
    end

    // Once it has waited 15 cycles, only a store reader that has too can come before it.
    logic late_q;
    always_ff @(posedge clk_i) begin
      late_q <= residual_valid_i[w] && !residual_ready_o[w] && residual_starved[w];
    end
    `UNZIP_ASSERT(WaitIsBounded, !late_q || !residual_valid_i[w] || residual_ready_o[w], clk_i,
                  rst_ni)
  end

  for (genvar w = 0; w < WORDS; w++) begin : g_post
    assign post_first[w] = post_valid_i[w] && post_bank_i[w*BANK_W+:BANK_W] == load_bank_i;
  end
  assign load_ready_o = post_first == '0;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      store_wait_q <= '0;
    end else if (store_valid_i && !store_ready_o) begin
      store_wait_q <= store_wait_q + 1'b1;
    end else begin
      store_wait_q <= '0;
    end
    store_starved <= rst_ni && store_starves;
    window_ready_o <= !rst_ni || !(store_starves || residual_starves != '0);
    window_go_q <= rst_ni && !(store_starves || residual_starves != '0);
  end

  logic [ACT_BANKS*WordW-1:0] rdata, rdata_q;
  // Banks of the reads that were granted one to three cycles ago; the data of the last ones is there.
  logic [3*S*BANK_W-1:0] window_bank_q;
  logic [3*BANK_W-1:0] store_bank_q;
  logic [3*WORDS*BANK_W-1:0] residual_bank_q;

  for (genvar b = 0; b < ACT_BANKS; b++) begin : g_bank
    localparam int W = b % WORDS;  // port of the residual prefetcher and of the post stage
    logic [S-1:0] window_here;
    logic [ADDR_W-1:0] residual_addr, raddr, raddr_q;
    logic re_q;
    logic store_here, residual_here, post_here, load_here;
    for (genvar k = 0; k < S; k++) begin : g_window
      assign window_here[k] = window_valid_i[k] && window_go_q &&
          window_bank_i[k*BANK_W+:BANK_W] == BANK_W'(b);
    end
    assign store_here = store_take && store_bank_i == BANK_W'(b);
    assign residual_here = residual_take[W] && residual_bank_i[W*BANK_W+:BANK_W] == BANK_W'(b);
    assign post_here = post_valid_i[W] && post_bank_i[W*BANK_W+:BANK_W] == BANK_W'(b);
    assign load_here = load_valid_i && load_ready_o && load_bank_i == BANK_W'(b);
    assign residual_addr = residual_addr_i[W*ADDR_W+:ADDR_W];
    always_comb begin
      raddr = store_here ? store_addr_i : residual_addr;
      for (int k = 0; k < S; k++) begin
        if (window_here[k]) raddr = window_addr_i[k*ADDR_W+:ADDR_W];
      end
    end
    logic we_q;
    logic [PARTS-1:0] wmask_q;
    logic [ADDR_W-1:0] waddr_q;
    logic [WordW-1:0] wdata_q;
    always_ff @(posedge clk_i) begin
      we_q <= post_here || load_here;
      wmask_q <= post_here ? post_mask_i : {PARTS{1'b1}};
      waddr_q <= post_here ? post_addr_i[W*ADDR_W+:ADDR_W] : load_addr_i;
      wdata_q <= post_here ? post_data_i[W*WordW+:WordW] : load_data_i;
      re_q <= window_here != '0 || store_here || residual_here;
      raddr_q <= raddr;
    end

    unzip_ram #(
        .WIDTH(WordW),
        .DEPTH(ACT_DEPTH),
        .MASKS(PARTS)
    ) u_ram (
        .clk_i,
        .we_i(we_q),
        .wmask_i(wmask_q),
        .waddr_i(waddr_q),
        .wdata_i(wdata_q),
        .re_i(re_q),
        .raddr_i(raddr_q),
        .rdata_o(rdata[b*WordW+:WordW])
    );
  end

  always_ff @(posedge clk_i) begin
    window_bank_q <= {window_bank_q[2*S*BANK_W-1:0], window_bank_i};
    store_bank_q <= {store_bank_q[2*BANK_W-1:0], store_bank_i};
    residual_bank_q <= {residual_bank_q[2*WORDS*BANK_W-1:0], residual_bank_i};
    rdata_q <= rdata;
  end

  for (genvar k = 0; k < S; k++) begin : g_data
    assign window_data_o[k*WordW+:WordW] =
        rdata_q[window_bank_q[(2*S+k)*BANK_W+:BANK_W]*WordW+:WordW];
  end
  assign store_data_o = rdata_q[store_bank_q[2*BANK_W+:BANK_W]*WordW+:WordW];

  for (genvar w = 0; w < WORDS; w++) begin : g_words
    assign residual_data_o[w*WordW+:WordW] =
        rdata_q[residual_bank_q[(2*WORDS+w)*BANK_W+:BANK_W]*WordW+:WordW];
    `UNZIP_ASSERT(ResidualBankOfPort,
                  !residual_valid_i[w] || int'(residual_bank_i[w*BANK_W+:BANK_W]) % WORDS == w,
                  clk_i, rst_ni)
    `UNZIP_ASSERT(PostBankOfPort,
                  !post_valid_i[w] || int'(post_bank_i[w*BANK_W+:BANK_W]) % WORDS == w, clk_i,
                  rst_ni)
  end

  for (genvar k = 1; k < S; k++) begin : g_assert
    for (genvar j = 0; j < k; j++) begin : g_other
      `UNZIP_ASSERT(OneWindowPerBank,
                    !window_valid_i[k] || !window_valid_i[j] ||
                    window_bank_i[k*BANK_W+:BANK_W] != window_bank_i[j*BANK_W+:BANK_W],
                    clk_i, rst_ni)
    end
  end

endmodule
