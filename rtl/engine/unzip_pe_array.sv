// SPDX-License-Identifier: Apache-2.0
// PE array: T_C processing elements (PEs) that take the dot products of operand words with filters.
//
// Mathematics
//   acc[bank][row][f] = sum over the steps of the row of sum_{l < T_P} w[f][step][l] * x[step][l]
//   over one or several chunks; a chunk's weights fill one half of the register files while the
//   other half computes.
//   Input-selective PEs (S > 1): the PEs split into `groups` groups that hold the same filters and
//   take different pixels. Group k takes the operand word of row bus k; its filter f is PE k*pitch + f,
//   pitch = floor(T_C/groups) rounded down to an even number (a multiple of G), and its sums are
//   acc[bank][row][k*pitch + f]. With one group all PEs take bus 0 and the pitch is T_C.
//
// Interface
//   word_*     weight words, in chunks that end with word_last_i, at most D steps each. Word g of a
//              beat belongs to filter word_filter_i + g; filters from the pitch on are dropped.
//              word_groups_i, 1 to S, is the same for all words of a chunk.
//   chunk_*    chunk_valid_o: a chunk of weights is ready that has not been taken with chunk_take_i.
//   operand_*  the operands of the taken chunks, in order, without back-pressure. operand_fresh_i: the
//              row starts at 0 instead of its accumulator; first and last: first and last step of a
//              row in this chunk; chunk_last: last operand of the chunk (frees its half);
//              tile_last: last operand of the tile.
//   tile_done_o pulses when the tile's last accumulator has been written.
//   drain_*    reads a row of the bank that does not accumulate, data three cycles later.
// Throughput: one operand word a cycle, T_P*T_C MACs, without a bubble between rows or chunks; a row may
// be accumulated again at once. One beat of weight words a cycle.
`include "unzip_assert.svh"
`include "unzip_limits.svh"

module unzip_pe_array #(
    parameter int T_P = 8,  // MACs per PE
    parameter int T_C = 8,  // PEs, even, a multiple of G
    parameter int T_R = 16,  // accumulator rows per tile
    parameter int S = 1,  // row buses: most groups of PEs
    parameter int D = 9,  // weight words per half of a register file
    parameter int G = 1,  // weight words per beat
    parameter int DW = 8,  // bits of a weight
    parameter int PAIR = 1,  // 1, 2: two filters share a multiplier; 2: one of 25 bits
    parameter int OPERAND_W = DW + 4,  // bits of an operand: DW, or DW + 4
    localparam int ACC_W = DW == 8 ? 32 : 48,  // bits of an accumulator
    localparam int ROW_AW = $clog2(T_R),
    localparam int STEP_W = $clog2(D)
) (
    input logic clk_i,
    input logic rst_ni,

    input  logic                word_valid_i,
    output logic                word_ready_o,
    input  logic [G*T_P*DW-1:0] word_data_i,
    input  logic [         8:0] word_filter_i,
    input  logic [         5:0] word_step_i,
    input  logic                word_last_i,
    input  logic [         2:0] word_groups_i,

    output logic chunk_valid_o,
    input  logic chunk_take_i,

    input  logic                       operand_valid_i,
    input  logic [S*T_P*OPERAND_W-1:0] operand_data_i,        // row bus 0 in the lowest bits
    input  logic [         STEP_W-1:0] operand_step_i,
    input  logic [         ROW_AW-1:0] operand_row_i,
    input  logic                       operand_bank_i,
    input  logic                       operand_fresh_i,
    input  logic                       operand_first_i,
    input  logic                       operand_last_i,
    input  logic                       operand_chunk_last_i,
    input  logic                       operand_tile_last_i,
    output logic                       tile_done_o,

    input  logic                 drain_re_i,
    input  logic                 drain_bank_i,
    input  logic [   ROW_AW-1:0] drain_row_i,
    output logic [T_C*ACC_W-1:0] drain_data_o
);

  `UNZIP_LIMIT_T_P
  `UNZIP_LIMIT_T_C
  `UNZIP_LIMIT_T_R
  `UNZIP_LIMIT_D
  `UNZIP_LIMIT_G
  `UNZIP_LIMIT_G_T_C
  `UNZIP_LIMIT_S
  `UNZIP_LIMIT_S_T_C
  `UNZIP_LIMIT_DW
  `UNZIP_LIMIT_PAIR
  `UNZIP_LIMIT_OPERAND_W

  localparam int Pairs = T_C / 2;
  localparam int TreeStages = ($clog2(T_P) + 1) / 2;
  localparam int WordW = T_P * DW;
  localparam int BusW = T_P * OPERAND_W;
  localparam int Align = G == 1 ? 2 : G;

  // ---- Weight loader -----------------------------------------------------------------------------
  logic fill_half_q, read_half_q;
  logic [1:0] halves_full_q, chunks_ready_q;
  logic chunk_valid_q;  // chunks_ready_q is not 0
  logic word_take, chunk_filled, half_freed;

  assign word_ready_o = !halves_full_q[1];
  assign word_take = word_valid_i && word_ready_o;
  assign chunk_filled = word_take && word_last_i;
  assign half_freed = operand_valid_i && operand_chunk_last_i;
  assign chunk_valid_o = chunk_valid_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      fill_half_q <= 1'b0;
      read_half_q <= 1'b0;
      halves_full_q <= 2'd0;
      chunks_ready_q <= 2'd0;
      chunk_valid_q <= 1'b0;
    end else begin
      fill_half_q <= fill_half_q ^ chunk_filled;
      read_half_q <= read_half_q ^ half_freed;
      halves_full_q <= halves_full_q + 2'(chunk_filled) - 2'(half_freed);
      chunks_ready_q <= chunks_ready_q + 2'(chunk_filled) - 2'(chunk_take_i);
      chunk_valid_q <= chunk_filled || chunks_ready_q[1] || (chunks_ready_q[0] && !chunk_take_i);
    end
  end

  // Filters side by side in a write: one with G = 1, else G/2 pairs.
  localparam int Slots = G == 1 ? 1 : G / 2;
  logic [Pairs-1:0] write_pair_q;
  logic [1:0] write_half_q;  // filter 0, filter 1 of a pair
  logic [STEP_W:0] write_addr_q;
  logic [Slots*2*WordW-1:0] write_data, write_data_q;

  if (G == 1) begin : g_load_one
    // Filter 1 of a pair comes after filter 0: the signs of filter 0's weights are kept meanwhile.
    logic [T_P-1:0] sign_mem[1<<STEP_W];
    logic [T_P-1:0] sign, sign_below;
    assign sign_below = PAIR != 0 ? sign_mem[word_step_i[STEP_W-1:0]] : '0;
    for (genvar l = 0; l < T_P; l++) begin : g_lane
      assign sign[l] = word_data_i[l*DW+DW-1];
      assign write_data[l*DW+:DW] = word_data_i[l*DW+:DW];
      assign write_data[WordW+l*DW+:DW] = word_data_i[l*DW+:DW] - DW'(sign_below[l]);
    end
    always_ff @(posedge clk_i) begin
      if (word_take && !word_filter_i[0]) sign_mem[word_step_i[STEP_W-1:0]] <= sign;
    end
  end else begin : g_load_pairs
    for (genvar s = 0; s < Slots; s++) begin : g_slot
      for (genvar l = 0; l < T_P; l++) begin : g_lane
        logic [DW-1:0] weight0, weight1;
        assign weight0 = word_data_i[2*s*WordW+l*DW+:DW];
        assign weight1 = word_data_i[(2*s+1)*WordW+l*DW+:DW];
        assign write_data[2*s*WordW+l*DW+:DW] = weight0;
        assign write_data[(2*s+1)*WordW+l*DW+:DW] =
            PAIR != 0 ? weight1 - DW'(weight0[DW-1]) : weight1;
      end
    end
  end

  // A pair's place in its group, for each number of groups that there can be.
  logic [8:0] word_slot;
  assign word_slot = word_filter_i / 9'(2 * Slots);

  for (genvar p = 0; p < Pairs; p++) begin : g_write_pair
    logic [S-1:0] here;
    for (genvar g = 1; g <= S; g++) begin : g_groups
      localparam int Pitch = unzip_pkg::group_pitch(T_C, g, Align);
      assign here[g-1] = (S == 1 || word_groups_i == 3'(g)) && 2 * p < g * Pitch &&
          word_slot == 9'(2 * p % Pitch / (2 * Slots));
    end
    always_ff @(posedge clk_i) begin
      write_pair_q[p] <= rst_ni && word_take && |here;
    end
  end

  always_ff @(posedge clk_i) begin
    if (word_take) begin
      write_half_q <= G == 1 ? (word_filter_i[0] ? 2'b10 : 2'b01) : 2'b11;
      write_addr_q <= {fill_half_q, word_step_i[STEP_W-1:0]};
      write_data_q <= write_data;
    end
  end

  // How many groups the words in each half are for, and so which bus each pair takes.
  logic [2:0] operand_groups;

  if (S > 1) begin : g_groups
    logic [5:0] half_groups_q;
    logic [2:0] operand_groups_q;
    always_ff @(posedge clk_i) begin
      if (word_take) half_groups_q[fill_half_q*3+:3] <= word_groups_i;
      if (operand_valid_i) operand_groups_q <= half_groups_q[read_half_q*3+:3];
    end
    assign operand_groups = operand_groups_q;
  end else begin : g_one_group
    assign operand_groups = 3'd1;
  end

  // ---- Control pipeline --------------------------------------------------------------------------
  // Stage 0: operand register; 1 and 2: those of the pairs; 3 and 4: products; 5 ..: adder tree;
  // AccStage: accumulate; then write.
  localparam int AccStage = 4 + TreeStages;
  localparam int Last = AccStage + 2;
  logic [Last:0] valid_q, bank_q, fresh_q, first_q, last_q, tile_last_q;
  logic [Last*ROW_AW-1:0] row_q;
  logic [S*BusW-1:0] operand_q;

  always_ff @(posedge clk_i) begin
    valid_q <= rst_ni ? {valid_q[Last-1:0], operand_valid_i} : '0;
    bank_q <= {bank_q[Last-1:0], operand_bank_i};
    fresh_q <= {fresh_q[Last-1:0], operand_fresh_i};
    first_q <= {first_q[Last-1:0], operand_first_i};
    last_q <= {last_q[Last-1:0], operand_last_i};
    tile_last_q <= {tile_last_q[Last-1:0], operand_tile_last_i};
    row_q <= {row_q[(Last-1)*ROW_AW-1:0], operand_row_i};
    if (operand_valid_i) operand_q <= operand_data_i;
  end

  // Where a row's sum comes from. A row that was finished one to three cycles ago is not yet in what
  // the memory reads, so it is taken from the registers.
  localparam int ReadStage = AccStage - 2;
  logic [1:0] base_sel_q;
  logic run_q, acc_run_q;  // add to the running sum
  logic [3:1] same_row;  // the row was finished so many cycles ago
  logic [ROW_AW-1:0] read_row, write_row;

  assign read_row  = row_q[ReadStage*ROW_AW+:ROW_AW];
  assign write_row = row_q[(AccStage+1)*ROW_AW+:ROW_AW];
  for (genvar d = 1; d <= 3; d++) begin : g_same_row
    assign same_row[d] = valid_q[ReadStage+d] && last_q[ReadStage+d] &&
        bank_q[ReadStage+d] == bank_q[ReadStage] && row_q[(ReadStage+d)*ROW_AW+:ROW_AW] == read_row;
  end

  logic [1:0] acc_re_q, acc_we, early_re, drain_re;
  logic [ROW_AW-1:0] acc_raddr0_q, acc_raddr1_q, early_row;
  logic early_en, drain_q, drain_bank_q, data_bank_q;

  // The memories' read ports come out of registers: what is to be read is known a stage before.
  assign early_en  = valid_q[ReadStage-1] && first_q[ReadStage-1];
  assign early_row = row_q[(ReadStage-1)*ROW_AW+:ROW_AW];
  assign early_re  = {early_en && bank_q[ReadStage-1], early_en && !bank_q[ReadStage-1]};
  assign drain_re  = {drain_re_i && drain_bank_i, drain_re_i && !drain_bank_i};

  always_ff @(posedge clk_i) begin
    acc_re_q <= early_re | drain_re;
    acc_raddr0_q <= drain_re[0] ? drain_row_i : early_row;
    acc_raddr1_q <= drain_re[1] ? drain_row_i : early_row;
    drain_q <= drain_re_i;
    drain_bank_q <= drain_bank_i;
    if (drain_q) data_bank_q <= drain_bank_q;
  end

  assign acc_we[0]   = valid_q[AccStage+1] && last_q[AccStage+1] && !bank_q[AccStage+1];
  assign acc_we[1]   = valid_q[AccStage+1] && last_q[AccStage+1] && bank_q[AccStage+1];
  assign tile_done_o = valid_q[AccStage+2] && tile_last_q[AccStage+2];

  always_ff @(posedge clk_i) begin
    base_sel_q <= fresh_q[ReadStage] ? 2'd0 : same_row[2] ? 2'd1 : same_row[3] ? 2'd3 : 2'd2;
    run_q <= !first_q[ReadStage] || (same_row[1] && !fresh_q[ReadStage]);
    acc_run_q <= run_q;
  end

  // ---- PEs ---------------------------------------------------------------------------------------
  for (genvar p = 0; p < Pairs; p++) begin : g_pair
    localparam int Bus2 = unzip_pkg::group_bus(T_C, 2, Align, 2 * p);
    localparam int Bus3 = unzip_pkg::group_bus(T_C, 3, Align, 2 * p);
    localparam int Bus4 = unzip_pkg::group_bus(T_C, 4, Align, 2 * p);
    logic [1:0] bus;
    assign bus = S >= 2 && operand_groups == 3'd2 ? 2'(Bus2) :
        S >= 3 && operand_groups == 3'd3 ? 2'(Bus3) :
        S >= 4 && operand_groups == 3'd4 ? 2'(Bus4) : 2'd0;

    unzip_pe_pair #(
        .T_P(T_P),
        .T_R(T_R),
        .D(D),
        .DW(DW),
        .PAIR(PAIR),
        .OPERAND_W(OPERAND_W)
    ) u_pair (
        .clk_i,
        .weight_we_i(write_pair_q[p] ? write_half_q : 2'b00),
        .weight_waddr_i(write_addr_q),
        .weight_data_i(write_data_q[(p%Slots)*2*WordW+:2*WordW]),
        .weight_raddr_i({read_half_q, operand_step_i}),
        .operand_i(operand_q[bus*BusW+:BusW]),
        .base_bank_i(bank_q[AccStage-1]),
        .base_sel_i(base_sel_q),
        .acc_en_i(valid_q[AccStage]),
        .acc_run_i(acc_run_q),
        .acc_we_i(acc_we),
        .acc_waddr_i(write_row),
        .acc_re_i(acc_re_q),
        .acc_raddr0_i(acc_raddr0_q),
        .acc_raddr1_i(acc_raddr1_q),
        .drain_bank_i(data_bank_q),
        .drain_data_o(drain_data_o[2*p*ACC_W+:2*ACC_W])
    );
  end

  `UNZIP_ASSERT(StepFits, !word_valid_i || int'(word_step_i) < D, clk_i, rst_ni)
  `UNZIP_ASSERT(GroupsFit, !word_valid_i || (word_groups_i != 3'd0 && int'(word_groups_i) <= S),
                clk_i, rst_ni)
  `UNZIP_ASSERT(OperandHasWeights, !operand_valid_i || halves_full_q != 2'd0, clk_i, rst_ni)
  `UNZIP_ASSERT(TakenChunkExists, !chunk_take_i || chunk_valid_o, clk_i, rst_ni)
  `UNZIP_ASSERT(DrainKeepsOff, (drain_re & early_re) == 2'b00, clk_i, rst_ni)

endmodule
