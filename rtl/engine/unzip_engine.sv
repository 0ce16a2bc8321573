// SPDX-License-Identifier: Apache-2.0
// Compute engine: weights generator, window reader, PE array, post stage, and their memories.
//
// Mathematics: one COMPUTE instruction is one output tile, see unzip_wgen, unzip_pe_array and unzip_post.
// Interface: a job stream for each of the three stages (the COMPUTE instruction, of which each stage
// decodes its fields), the write ports of the code list and of the residual's description (the RESIDUAL
// instruction, in the place of the post stage's), those of the load DMA and the read port of the store
// DMA. Each stage says when its jobs are done: wgen when the last alpha has been read,
// MAC when the last activation has been read, post when the last output is visible.
// Throughput: T_P*T_C MACs a cycle; with filters for fewer PEs, up to S pixels take the rest.

// Field NAME of the COMPUTE instruction I.
`define UNZIP_FIELD(I, NAME) \
  I[unzip_isa_pkg::COMPUTE_``NAME``_LSB+:unzip_isa_pkg::COMPUTE_``NAME``_W]
`include "unzip_limits.svh"

// Field NAME of the RESIDUAL instruction that comes in the place of the post stage's COMPUTE.
`define UNZIP_RESIDUAL_FIELD(NAME) \
  post_instruction_i[unzip_isa_pkg::RESIDUAL_``NAME``_LSB+:unzip_isa_pkg::RESIDUAL_``NAME``_W]

module unzip_engine #(
    parameter int T_P = 8,
    parameter int T_C = 8,
    parameter int T_R = 16,
    parameter int S = 1,
    parameter int J = 2,
    parameter int G = 1,
    parameter int D = 9,
    parameter int Q = 4,
    parameter int DW = 8,
    parameter int PAIR = 1,
    parameter int OPERAND_W = DW + 4,
    parameter int N_MAX = 16,
    parameter int CHANNEL_AXIS = 1,
    parameter int PROJECTOR = 0,
    parameter int ACT_DEPTH = 512,
    parameter int ACT_BANKS = 2,
    parameter int ALPHA_DEPTH = 256,
    parameter int PARAM_DEPTH = 64,
    parameter int POOL_W = 16,
    localparam int ACC_W = DW == 8 ? 32 : 48,
    localparam int PARAM_W = ACC_W + 16,
    localparam int BANK_W = $clog2(ACT_BANKS),
    localparam int ADDR_W = $clog2(ACT_DEPTH)
) (
    input logic clk_i,
    input logic rst_ni,

    input logic        code_we_i,
    input logic [ 1:0] code_page_i,
    input logic [95:0] code_list_i,

    input  logic         wgen_valid_i,
    output logic         wgen_ready_o,
    input  logic [511:0] wgen_instruction_i,
    output logic         wgen_done_o,
    output logic         wgen_busy_o,
    input  logic         mac_valid_i,
    output logic         mac_ready_o,
    input  logic [511:0] mac_instruction_i,
    output logic         mac_done_o,
    output logic         mac_busy_o,
    input  logic         mac_list_we_i,
    input  logic [ 95:0] mac_list_i,
    input  logic         residual_we_i,
    input  logic         post_valid_i,
    output logic         post_ready_o,
    input  logic [511:0] post_instruction_i,
    output logic         post_done_o,
    output logic         post_busy_o,

    input  logic                           load_act_valid_i,
    output logic                           load_act_ready_o,
    input  logic [             BANK_W-1:0] load_act_bank_i,
    input  logic [             ADDR_W-1:0] load_act_addr_i,
    input  logic [             T_P*DW-1:0] load_act_data_i,
    input  logic                           load_alpha_we_i,
    input  logic [$clog2(ALPHA_DEPTH)-1:0] load_alpha_addr_i,
    input  logic [           G*T_P*DW-1:0] load_alpha_data_i,
    input  logic                           load_param_we_i,
    input  logic [$clog2(PARAM_DEPTH)-1:0] load_param_addr_i,
    input  logic [          Q*PARAM_W-1:0] load_param_data_i,

    input  logic              store_valid_i,
    output logic              store_ready_o,
    input  logic [BANK_W-1:0] store_bank_i,
    input  logic [ADDR_W-1:0] store_addr_i,
    output logic [T_P*DW-1:0] store_data_o,

    // what a cycle was used for
    output logic mac_active_o,
    output logic waits_weights_o,
    output logic waits_post_o,
    output logic moved_o,  // a weight word or an output was put out
    output logic conflict_o
);

  `UNZIP_LIMIT_T_P
  `UNZIP_LIMIT_T_C
  `UNZIP_LIMIT_T_R
  `UNZIP_LIMIT_J
  `UNZIP_LIMIT_G
  `UNZIP_LIMIT_G_T_C
  `UNZIP_LIMIT_S
  `UNZIP_LIMIT_S_T_C
  `UNZIP_LIMIT_ACT_BANKS_S
  `UNZIP_LIMIT_Q_ACT_BANKS
  `UNZIP_LIMIT_D
  `UNZIP_LIMIT_Q_T_P
  `UNZIP_LIMIT_Q_T_C
  `UNZIP_LIMIT_DW
  `UNZIP_LIMIT_PAIR
  `UNZIP_LIMIT_OPERAND_W
  `UNZIP_LIMIT_N_MAX
  `UNZIP_LIMIT_CHANNEL_AXIS
  `UNZIP_LIMIT_PROJECTOR
  `UNZIP_LIMIT_PROJECTOR_OPERAND_W
  `UNZIP_LIMIT_ACT_DEPTH
  `UNZIP_LIMIT_ACT_BANKS
  `UNZIP_LIMIT_ALPHA_DEPTH
  `UNZIP_LIMIT_PARAM_DEPTH
  `UNZIP_LIMIT_POOL_W

  localparam int RowAw = $clog2(T_R);
  localparam int StepW = $clog2(D);
  localparam int Parts = Q < T_P ? T_P / Q : 1;  // groups of Q channels in a word
  localparam int Words = Q > T_P ? Q / T_P : 1;  // words of a group
  localparam int GroupW = $clog2(T_C / Q + T_P / Q + 1);
  localparam int ParamAw = $clog2(PARAM_DEPTH);
  localparam int AlphaAw = $clog2(ALPHA_DEPTH);

  // ---- Weights -------------------------------------------------------------------------------------
  logic alpha_re;
  logic [AlphaAw-1:0] alpha_addr;
  logic [G*T_P*DW-1:0] alpha_data;

  unzip_ram #(
      .WIDTH(G * T_P * DW),
      .DEPTH(ALPHA_DEPTH)
  ) u_alpha_mem (
      .clk_i,
      .we_i(load_alpha_we_i),
      .wmask_i(1'b1),
      .waddr_i(load_alpha_addr_i),
      .wdata_i(load_alpha_data_i),
      .re_i(alpha_re),
      .raddr_i(alpha_addr),
      .rdata_o(alpha_data)
  );

  logic word_valid, word_ready, word_last;
  logic [G*T_P*DW-1:0] word_data;
  logic [8:0] word_filter;
  logic [5:0] word_step;
  logic [2:0] word_groups;

  // In the code domain the alphas are passed on: along the kernel n words a block, along the channels one
  // a tap for 16/n blocks.
  logic wgen_project, wgen_along_kernel;
  logic [ 3:0] wgen_codes;
  logic [11:0] wgen_blocks;
  assign wgen_project = PROJECTOR != 0 && wgen_instruction_i[unzip_isa_pkg::COMPUTE_PROJECT_LSB];
  assign wgen_along_kernel = wgen_project &&
      !wgen_instruction_i[unzip_isa_pkg::COMPUTE_CHANNEL_LSB];
  assign wgen_codes = wgen_instruction_i[unzip_isa_pkg::COMPUTE_CODES_LSB+:4];
  assign wgen_blocks = wgen_project && !wgen_along_kernel ? unzip_pkg::code_blocks(
          `UNZIP_FIELD(wgen_instruction_i, BLOCKS), wgen_codes
      ) :
      `UNZIP_FIELD(wgen_instruction_i, BLOCKS);

  unzip_wgen #(
      .T_P(T_P),
      .G(G),
      .J(J),
      .DW(DW),
      .N_MAX(N_MAX),
      .CHANNEL_AXIS(CHANNEL_AXIS),
      .ALPHA_DEPTH(ALPHA_DEPTH)
  ) u_wgen (
      .clk_i,
      .rst_ni,
      .code_we_i,
      .code_page_i,
      .code_list_i,
      .job_valid_i(wgen_valid_i),
      .job_ready_o(wgen_ready_o),
      .job_alpha_addr_i(`UNZIP_FIELD(wgen_instruction_i, ALPHA_ADDR)),
      .job_filters_i(`UNZIP_FIELD(wgen_instruction_i, FILTERS)),
      .job_codes_i(wgen_project ? 7'd1 : `UNZIP_FIELD(wgen_instruction_i, CODES)),
      .job_dense_i(wgen_project || `UNZIP_FIELD(wgen_instruction_i, DENSE)),
      .job_channel_i(!wgen_project && `UNZIP_FIELD(wgen_instruction_i, CHANNEL)),
      .job_alpha_words_i(`UNZIP_FIELD(wgen_instruction_i, ALPHA_WORDS)),
      .job_kernel_h_i(wgen_along_kernel ? wgen_codes : `UNZIP_FIELD(wgen_instruction_i, KERNEL_H)),
      .job_kernel_w_i(wgen_along_kernel ? 4'd1 : `UNZIP_FIELD(wgen_instruction_i, KERNEL_W)),
      .job_blocks_i(wgen_blocks),
      .job_chunk_blocks_i(`UNZIP_FIELD(wgen_instruction_i, CHUNK_BLOCKS)),
      .job_chunk_taps_i(`UNZIP_FIELD(wgen_instruction_i, CHUNK_TAPS)),
      .job_groups_i(`UNZIP_FIELD(wgen_instruction_i, GROUPS)),
      .done_o(wgen_done_o),
      .busy_o(wgen_busy_o),
      .alpha_re_o(alpha_re),
      .alpha_addr_o(alpha_addr),
      .alpha_data_i(alpha_data),
      .word_valid_o(word_valid),
      .word_ready_i(word_ready),
      .word_data_o(word_data),
      .word_filter_o(word_filter),
      .word_step_o(word_step),
      .word_groups_o(word_groups),
      .word_last_o(word_last)
  );

  // ---- Activations ---------------------------------------------------------------------------------
  logic read_ready;
  logic [S-1:0] read_valid;
  logic [S*BANK_W-1:0] read_bank;
  logic [S*ADDR_W-1:0] read_addr;
  logic [S*T_P*DW-1:0] read_data;
  logic [Words-1:0] write_valid;
  logic [Words*BANK_W-1:0] write_bank;
  logic [Words*ADDR_W-1:0] write_addr;
  logic [Words*T_P*DW-1:0] write_data;
  logic [Parts-1:0] write_mask;
  logic [Words-1:0] residual_read_valid, residual_read_ready;
  logic [Words*BANK_W-1:0] residual_read_bank;
  logic [Words*ADDR_W-1:0] residual_read_addr;
  logic [Words*T_P*DW-1:0] residual_read_data;

  unzip_act_mem #(
      .T_P(T_P),
      .DW(DW),
      .Q(Q),
      .S(S),
      .ACT_BANKS(ACT_BANKS),
      .ACT_DEPTH(ACT_DEPTH)
  ) u_act_mem (
      .clk_i,
      .rst_ni,
      .window_valid_i(read_valid),
      .window_ready_o(read_ready),
      .window_bank_i(read_bank),
      .window_addr_i(read_addr),
      .window_data_o(read_data),
      .store_valid_i,
      .store_ready_o,
      .store_bank_i,
      .store_addr_i,
      .store_data_o,
      .residual_valid_i(residual_read_valid),
      .residual_ready_o(residual_read_ready),
      .residual_bank_i(residual_read_bank),
      .residual_addr_i(residual_read_addr),
      .residual_data_o(residual_read_data),
      .post_valid_i(write_valid),
      .post_bank_i(write_bank),
      .post_addr_i(write_addr),
      .post_mask_i(write_mask),
      .post_data_i(write_data),
      .load_valid_i(load_act_valid_i),
      .load_ready_o(load_act_ready_o),
      .load_bank_i(load_act_bank_i),
      .load_addr_i(load_act_addr_i),
      .load_data_i(load_act_data_i)
  );

  logic chunk_valid, chunk_take, tile_release, tile_done;
  logic operand_valid, operand_bank, operand_fresh, operand_first, operand_last;
  logic operand_chunk_last, operand_tile_last;
  logic [S*T_P*OPERAND_W-1:0] operand_data;
  logic [StepW-1:0] operand_step, read_step;
  logic [RowAw-1:0] operand_row, read_row;
  logic
      read_word_valid,
      read_part_last,
      read_single,
      read_acc_bank,
      read_fresh,
      read_first,
      read_last;
  logic read_chunk_last, read_tile_last;
  logic [S*T_P*DW-1:0] read_words;
  logic [1:0] read_domain, read_log2_codes;
  logic [3:0] read_part, start_codes;
  logic
      start_valid, start_ready, start_stride_two, start_reduce_first, start_reduce_last, start_bank;
  logic [11:0] start_pixels, start_out_x, start_out_w, start_blocks;
  logic [2:0] start_groups;
  logic issue, room, projector_busy;

  unzip_window_reader #(
      .T_P(T_P),
      .T_R(T_R),
      .S(S),
      .D(D),
      .DW(DW),
      .PROJECTOR(PROJECTOR),
      .ACT_BANKS(ACT_BANKS),
      .ACT_DEPTH(ACT_DEPTH)
  ) u_window_reader (
      .clk_i,
      .rst_ni,
      .job_valid_i(mac_valid_i),
      .job_ready_o(mac_ready_o),
      .job_project_i(mac_instruction_i[unzip_isa_pkg::COMPUTE_PROJECT_LSB]),
      .job_channel_i(mac_instruction_i[unzip_isa_pkg::COMPUTE_CHANNEL_LSB]),
      .job_codes_i(mac_instruction_i[unzip_isa_pkg::COMPUTE_CODES_LSB+:4]),
      .job_read_rows_i(`UNZIP_FIELD(mac_instruction_i, READ_ROWS)),
      .job_kernel_h_i(`UNZIP_FIELD(mac_instruction_i, KERNEL_H)),
      .job_kernel_w_i(`UNZIP_FIELD(mac_instruction_i, KERNEL_W)),
      .job_blocks_i(`UNZIP_FIELD(mac_instruction_i, BLOCKS)),
      .job_chunk_blocks_i(`UNZIP_FIELD(mac_instruction_i, CHUNK_BLOCKS)),
      .job_chunk_taps_i(`UNZIP_FIELD(mac_instruction_i, CHUNK_TAPS)),
      .job_src_base_i(`UNZIP_FIELD(mac_instruction_i, SRC_BASE)),
      .job_src_row_i(`UNZIP_FIELD(mac_instruction_i, SRC_ROW)),
      .job_src_block_i(`UNZIP_FIELD(mac_instruction_i, SRC_BLOCK)),
      .job_src_shift_i(`UNZIP_FIELD(mac_instruction_i, SRC_SHIFT)),
      .job_src_bank_i(mac_instruction_i[unzip_isa_pkg::COMPUTE_SRC_BANK_LSB+:BANK_W]),
      .job_in_h_i(`UNZIP_FIELD(mac_instruction_i, IN_H)),
      .job_in_w_i(`UNZIP_FIELD(mac_instruction_i, IN_W)),
      .job_stride_h_i(`UNZIP_FIELD(mac_instruction_i, STRIDE_H)),
      .job_stride_w_i(`UNZIP_FIELD(mac_instruction_i, STRIDE_W)),
      .job_pad_top_i(`UNZIP_FIELD(mac_instruction_i, PAD_TOP)),
      .job_pad_left_i(`UNZIP_FIELD(mac_instruction_i, PAD_LEFT)),
      .job_row0_i(`UNZIP_FIELD(mac_instruction_i, ROW0)),
      .job_reduce_first_i(`UNZIP_FIELD(mac_instruction_i, REDUCE_FIRST)),
      .job_reduce_last_i(`UNZIP_FIELD(mac_instruction_i, REDUCE_LAST)),
      .job_out_x_i(`UNZIP_FIELD(mac_instruction_i, OUT_X)),
      .job_out_y_i(`UNZIP_FIELD(mac_instruction_i, OUT_Y)),
      .job_out_w_i(`UNZIP_FIELD(mac_instruction_i, OUT_W)),
      .job_pixels_i(`UNZIP_FIELD(mac_instruction_i, PIXELS)),
      .job_groups_i(`UNZIP_FIELD(mac_instruction_i, GROUPS)),
      .done_o(mac_done_o),
      .busy_o(mac_busy_o),
      .read_valid_o(read_valid),
      .read_ready_i(read_ready),
      .read_bank_o(read_bank),
      .read_addr_o(read_addr),
      .read_data_i(read_data),
      .chunk_valid_i(chunk_valid),
      .chunk_take_o(chunk_take),
      .word_valid_o(read_word_valid),
      .word_data_o(read_words),
      .word_domain_o(read_domain),
      .word_log2_codes_o(read_log2_codes),
      .word_part_o(read_part),
      .word_part_last_o(read_part_last),
      .word_single_o(read_single),
      .word_step_o(read_step),
      .word_row_o(read_row),
      .word_bank_o(read_acc_bank),
      .word_fresh_o(read_fresh),
      .word_first_o(read_first),
      .word_last_o(read_last),
      .word_chunk_last_o(read_chunk_last),
      .word_tile_last_o(read_tile_last),
      .start_valid_o(start_valid),
      .start_ready_i(start_ready),
      .start_pixels_o(start_pixels),
      .start_out_x_o(start_out_x),
      .start_out_w_o(start_out_w),
      .start_stride_two_o(start_stride_two),
      .start_groups_o(start_groups),
      .start_codes_o(start_codes),
      .start_blocks_o(start_blocks),
      .start_reduce_first_o(start_reduce_first),
      .start_reduce_last_o(start_reduce_last),
      .start_bank_o(start_bank),
      .issue_o(issue),
      .room_i(room),
      .projector_busy_i(projector_busy),
      .tile_release_i(tile_release),
      .waits_weights_o,
      .waits_post_o,
      .conflict_o
  );
  assign mac_active_o = operand_valid;

  if (PROJECTOR != 0) begin : g_projector
    unzip_projector #(
        .T_P(T_P),
        .T_R(T_R),
        .S(S),
        .D(D),
        .DW(DW),
        .OPERAND_W(OPERAND_W)
    ) u_projector (
        .clk_i,
        .rst_ni,
        .list_we_i(mac_list_we_i),
        .list_i(mac_list_i),
        .job_valid_i(start_valid),
        .job_ready_o(start_ready),
        .job_pixels_i(start_pixels),
        .job_out_x_i(start_out_x),
        .job_out_w_i(start_out_w),
        .job_stride_two_i(start_stride_two),
        .job_groups_i(start_groups),
        .job_codes_i(start_codes),
        .job_blocks_i(start_blocks),
        .job_reduce_first_i(start_reduce_first),
        .job_reduce_last_i(start_reduce_last),
        .job_bank_i(start_bank),
        .issue_i(issue),
        .room_o(room),
        .busy_o(projector_busy),
        .word_valid_i(read_word_valid),
        .word_data_i(read_words),
        .word_domain_i(read_domain),
        .word_log2_codes_i(read_log2_codes),
        .word_part_i(read_part),
        .word_part_last_i(read_part_last),
        .word_single_i(read_single),
        .word_step_i(read_step),
        .word_row_i(read_row),
        .word_bank_i(read_acc_bank),
        .word_fresh_i(read_fresh),
        .word_first_i(read_first),
        .word_last_i(read_last),
        .word_chunk_last_i(read_chunk_last),
        .word_tile_last_i(read_tile_last),
        .operand_valid_o(operand_valid),
        .operand_data_o(operand_data),
        .operand_step_o(operand_step),
        .operand_row_o(operand_row),
        .operand_bank_o(operand_bank),
        .operand_fresh_o(operand_fresh),
        .operand_first_o(operand_first),
        .operand_last_o(operand_last),
        .operand_chunk_last_o(operand_chunk_last),
        .operand_tile_last_o(operand_tile_last)
    );
  end else begin : g_no_projector
    for (genvar l = 0; l < S * T_P; l++) begin : g_lane
      assign operand_data[l*OPERAND_W+:OPERAND_W] = OPERAND_W'($signed(read_words[l*DW+:DW]));
    end
    assign operand_valid = read_word_valid;
    assign operand_step = read_step;
    assign operand_row = read_row;
    assign operand_bank = read_acc_bank;
    assign operand_fresh = read_fresh;
    assign operand_first = read_first;
    assign operand_last = read_last;
    assign operand_chunk_last = read_chunk_last;
    assign operand_tile_last = read_tile_last;
    assign start_ready = 1'b1;
    assign room = 1'b1;
    assign projector_busy = 1'b0;
    logic unused;
    assign unused = &{1'b0, mac_list_we_i, mac_list_i, read_domain, read_log2_codes, read_part,
                      read_part_last, read_single, start_valid, start_pixels, start_out_x,
                      start_out_w, start_stride_two, start_groups, start_codes, start_blocks,
                      start_reduce_first, start_reduce_last, start_bank, issue};
  end

  // ---- PE array and post stage ---------------------------------------------------------------------
  logic drain_re, drain_bank, param_re;
  logic [RowAw-1:0] drain_row;
  logic [T_C*ACC_W-1:0] drain_data;
  logic [ParamAw-1:0] param_addr;
  logic [Q*PARAM_W-1:0] param_data;

  unzip_pe_array #(
      .T_P(T_P),
      .T_C(T_C),
      .T_R(T_R),
      .S(S),
      .D(D),
      .G(G),
      .DW(DW),
      .PAIR(PAIR),
      .OPERAND_W(OPERAND_W)
  ) u_pe_array (
      .clk_i,
      .rst_ni,
      .word_valid_i(word_valid),
      .word_ready_o(word_ready),
      .word_data_i(word_data),
      .word_filter_i(word_filter),
      .word_step_i(word_step),
      .word_last_i(word_last),
      .word_groups_i(word_groups),
      .chunk_valid_o(chunk_valid),
      .chunk_take_i(chunk_take),
      .operand_valid_i(operand_valid),
      .operand_data_i(operand_data),
      .operand_step_i(operand_step),
      .operand_row_i(operand_row),
      .operand_bank_i(operand_bank),
      .operand_fresh_i(operand_fresh),
      .operand_first_i(operand_first),
      .operand_last_i(operand_last),
      .operand_chunk_last_i(operand_chunk_last),
      .operand_tile_last_i(operand_tile_last),
      .tile_done_o(tile_done),
      .drain_re_i(drain_re),
      .drain_bank_i(drain_bank),
      .drain_row_i(drain_row),
      .drain_data_o(drain_data)
  );

  unzip_ram #(
      .WIDTH(Q * PARAM_W),
      .DEPTH(PARAM_DEPTH)
  ) u_param_mem (
      .clk_i,
      .we_i(load_param_we_i),
      .wmask_i(1'b1),
      .waddr_i(load_param_addr_i),
      .wdata_i(load_param_data_i),
      .re_i(param_re),
      .raddr_i(param_addr),
      .rdata_o(param_data)
  );

  logic residual_valid, residual_ready;
  logic [Words*T_P*DW-1:0] residual_data;

  unzip_residual #(
      .T_P(T_P),
      .T_C(T_C),
      .Q(Q),
      .DW(DW),
      .ACT_BANKS(ACT_BANKS),
      .ACT_DEPTH(ACT_DEPTH)
  ) u_residual (
      .clk_i,
      .rst_ni,
      .set_i(residual_we_i),
      .set_row_i(`UNZIP_RESIDUAL_FIELD(RES_ROW)),
      .set_block_i(`UNZIP_RESIDUAL_FIELD(RES_BLOCK)),
      .set_shift_i(`UNZIP_RESIDUAL_FIELD(RES_SHIFT)),
      .set_blocks_i(`UNZIP_RESIDUAL_FIELD(RES_BLOCKS)),
      .set_h_i(`UNZIP_RESIDUAL_FIELD(RES_H)),
      .set_w_i(`UNZIP_RESIDUAL_FIELD(RES_W)),
      .start_i(post_valid_i && post_ready_o &&
          post_instruction_i[unzip_isa_pkg::COMPUTE_RESIDUAL_LSB]),
      .base_i(`UNZIP_FIELD(post_instruction_i, RES_BASE)),
      .block_first_i(`UNZIP_FIELD(post_instruction_i, RES_BLOCK_FIRST)),
      .out_x_i(`UNZIP_FIELD(post_instruction_i, OUT_X)),
      .out_y_i(`UNZIP_FIELD(post_instruction_i, OUT_Y)),
      .out_w_i(`UNZIP_FIELD(post_instruction_i, OUT_W)),
      .pixels_i(`UNZIP_FIELD(post_instruction_i, PIXELS)),
      .lane_i(`UNZIP_FIELD(post_instruction_i, DST_LANE)),
      .groups_i(post_instruction_i[unzip_isa_pkg::COMPUTE_DST_GROUPS_LSB+:GroupW]),
      .read_valid_o(residual_read_valid),
      .read_ready_i(residual_read_ready),
      .read_bank_o(residual_read_bank),
      .read_addr_o(residual_read_addr),
      .read_data_i(residual_read_data),
      .valid_o(residual_valid),
      .ready_i(residual_ready),
      .data_o(residual_data)
  );

  unzip_post #(
      .T_P(T_P),
      .T_C(T_C),
      .T_R(T_R),
      .S(S),
      .G(G),
      .Q(Q),
      .DW(DW),
      .ACT_BANKS(ACT_BANKS),
      .ACT_DEPTH(ACT_DEPTH),
      .PARAM_DEPTH(PARAM_DEPTH),
      .POOL_W(POOL_W)
  ) u_post (
      .clk_i,
      .rst_ni,
      .job_valid_i(post_valid_i),
      .job_ready_o(post_ready_o),
      .job_filters_i(`UNZIP_FIELD(post_instruction_i, POST_FILTERS)),
      .job_param_addr_i(post_instruction_i[unzip_isa_pkg::COMPUTE_PARAM_ADDR_LSB+:ParamAw]),
      .job_scale_shift_i(`UNZIP_FIELD(post_instruction_i, SCALE_SHIFT)),
      .job_clamp_lo_i(`UNZIP_FIELD(post_instruction_i, CLAMP_LO)),
      .job_clamp_hi_i(`UNZIP_FIELD(post_instruction_i, CLAMP_HI)),
      .job_out_x_i(`UNZIP_FIELD(post_instruction_i, OUT_X)),
      .job_out_y_i(`UNZIP_FIELD(post_instruction_i, OUT_Y)),
      .job_out_h_i(`UNZIP_FIELD(post_instruction_i, OUT_H)),
      .job_out_w_i(`UNZIP_FIELD(post_instruction_i, OUT_W)),
      .job_pixels_i(`UNZIP_FIELD(post_instruction_i, PIXELS)),
      .job_groups_i(`UNZIP_FIELD(post_instruction_i, POST_GROUPS)),
      .job_dst_base_i(`UNZIP_FIELD(post_instruction_i, DST_BASE)),
      .job_dst_row_i(`UNZIP_FIELD(post_instruction_i, DST_ROW)),
      .job_dst_block_i(`UNZIP_FIELD(post_instruction_i, DST_BLOCK)),
      .job_dst_shift_i(`UNZIP_FIELD(post_instruction_i, DST_SHIFT)),
      .job_dst_bank_i(post_instruction_i[unzip_isa_pkg::COMPUTE_DST_BANK_LSB+:BANK_W]),
      .job_dst_lane_i(`UNZIP_FIELD(post_instruction_i, DST_LANE)),
      .job_dst_groups_i(post_instruction_i[unzip_isa_pkg::COMPUTE_DST_GROUPS_LSB+:GroupW]),
      .job_pool_kernel_i(`UNZIP_FIELD(post_instruction_i, POOL_KERNEL)),
      .job_pool_stride_i(`UNZIP_FIELD(post_instruction_i, POOL_STRIDE)),
      .job_pool_pad_i(`UNZIP_FIELD(post_instruction_i, POOL_PAD)),
      .job_pool_h_i(`UNZIP_FIELD(post_instruction_i, POOL_H)),
      .job_pool_w_i(`UNZIP_FIELD(post_instruction_i, POOL_W)),
      .job_residual_i(post_instruction_i[unzip_isa_pkg::COMPUTE_RESIDUAL_LSB]),
      .done_o(post_done_o),
      .busy_o(post_busy_o),
      .set_residual_i(residual_we_i),
      .set_res_scale_i(`UNZIP_RESIDUAL_FIELD(RES_SCALE)),
      .set_res_lift_i(`UNZIP_RESIDUAL_FIELD(RES_LIFT)),
      .residual_valid_i(residual_valid),
      .residual_ready_o(residual_ready),
      .residual_data_i(residual_data),
      .tile_done_i(tile_done),
      .tile_release_o(tile_release),
      .drain_re_o(drain_re),
      .drain_bank_o(drain_bank),
      .drain_row_o(drain_row),
      .drain_data_i(drain_data),
      .param_re_o(param_re),
      .param_addr_o(param_addr),
      .param_data_i(param_data),
      .write_valid_o(write_valid),
      .write_bank_o(write_bank),
      .write_addr_o(write_addr),
      .write_mask_o(write_mask),
      .write_data_o(write_data)
  );

  assign moved_o = (word_valid && word_ready) || write_valid != '0;

endmodule
