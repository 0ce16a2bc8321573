// SPDX-License-Identifier: Apache-2.0
// Memory with one write port and one read port, inferred as block or distributed RAM.
//
// Interface: a write with `we_i` stores the parts of `wdata_i` whose `wmask_i` bit is set. A read
// with `re_i` shows its word on `rdata_o` in the next cycle and holds it until the next read. A read
// of a part that is being written returns anything (in simulation the part's complement).
// Throughput: one write and one read a cycle.
`include "unzip_limits.svh"

module unzip_ram #(
    parameter int WIDTH = 8,   // bits of a word
    parameter int DEPTH = 16,  // words
    parameter int MASKS = 1    // separately writable parts of a word, a divisor of WIDTH
) (
    input logic clk_i,

    input logic                                       we_i,
    input logic [                          MASKS-1:0] wmask_i,
    input logic [(DEPTH > 1 ? $clog2(DEPTH) : 1)-1:0] waddr_i,
    input logic [                          WIDTH-1:0] wdata_i,

    input  logic                                       re_i,
    input  logic [(DEPTH > 1 ? $clog2(DEPTH) : 1)-1:0] raddr_i,
    output logic [                          WIDTH-1:0] rdata_o
);

  `UNZIP_LIMIT_LOWEST(WIDTH, "WIDTH", 1)
  `UNZIP_LIMIT_LOWEST(DEPTH, "DEPTH", 1)
  `UNZIP_REQUIRE(MASKS, MASKS >= 1 && WIDTH % (MASKS > 0 ? MASKS : 1) == 0,
                 ("WIDTH (%0d) is not a multiple of MASKS (%0d).", WIDTH, MASKS))

  localparam int PartW = WIDTH / MASKS;

  for (genvar p = 0; p < MASKS; p++) begin : g_part
    (* no_rw_check *)
    // nothing is spent on what a read of the word that is being written returns
    logic [PartW-1:0] mem[DEPTH];
    logic [PartW-1:0] rdata_q;

`ifdef __ICARUS__
    // Power-up contents are arbitrary: nothing may depend on them.
    int seed;
    initial begin
      if (!$value$plusargs("unzip_seed=%d", seed)) seed = 1;
      seed = seed + DEPTH * WIDTH + p;
      for (int i = 0; i < DEPTH; i++) begin
        for (int w = 0; w < PartW; w += 8) mem[i] = PartW'({mem[i], 8'($random(seed))});
      end
    end
`endif

    always_ff @(posedge clk_i) begin
      if (we_i && wmask_i[p]) mem[waddr_i] <= wdata_i[p*PartW+:PartW];
      if (re_i) rdata_q <= mem[raddr_i];
`ifndef SYNTHESIS
      if (re_i && we_i && wmask_i[p] && waddr_i == raddr_i) rdata_q <= ~mem[raddr_i];
`endif
    end
    assign rdata_o[p*PartW+:PartW] = rdata_q;
  end

endmodule
