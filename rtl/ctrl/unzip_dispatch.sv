// SPDX-License-Identifier: Apache-2.0
// Splits the compute queue into the streams of the weights generator, the MAC stage and the post stage.
//
// Interface: an instruction stream with its byte offset in, three streams with it out. Of an
// instruction only the fields of the stage are passed on, the others read 0. Code lists go to the stages
// that they name, wgen or MAC, descriptions of residuals to the post stage (is_list).
// opcode_error_o: the head is none of these; domain_error_o: it is a tile in the code domain that the
// projector cannot do, or there is none.
// Throughput: one instruction in two cycles; a full stage queue stalls only what needs it.
`include "unzip_limits.svh"

module unzip_dispatch #(
    parameter int PROJECTOR = 0,  // 1: the code domain is there
    parameter int DEPTH = 2  // instructions waiting per stage
) (
    input logic clk_i,
    input logic rst_ni,

    input  logic         valid_i,
    output logic         ready_o,
    input  logic [511:0] instruction_i,
    input  logic [ 31:0] offset_i,
    output logic         opcode_error_o,
    output logic         domain_error_o,

    output logic         wgen_valid_o,
    input  logic         wgen_ready_i,
    output logic         wgen_is_list_o,
    output logic         wgen_is_mark_o,
    output logic [ 15:0] wgen_mark_id_o,
    output logic [ 31:0] wgen_offset_o,
    output logic [511:0] wgen_instruction_o,
    output logic         mac_valid_o,
    input  logic         mac_ready_i,
    output logic         mac_is_list_o,
    output logic         mac_is_mark_o,
    output logic [ 15:0] mac_mark_id_o,
    output logic [ 31:0] mac_offset_o,
    output logic [511:0] mac_instruction_o,
    output logic         post_valid_o,
    input  logic         post_ready_i,
    output logic         post_is_list_o,
    output logic         post_is_mark_o,
    output logic [ 15:0] post_mark_id_o,
    output logic [ 31:0] post_offset_o,
    output logic [511:0] post_instruction_o
);

  `UNZIP_LIMIT_PROJECTOR
  `UNZIP_LIMIT_POWER(DEPTH, "DEPTH")

  // Slices of an instruction that the stages use; that of wgen ends behind a code list. That of the
  // post stage holds the fields of a RESIDUAL instruction, from ResLsb on, in its lowest bits.
  localparam int WgenLsb = unzip_isa_pkg::COMPUTE_WGEN_WAIT_LSB;
  localparam int WgenW =
      unzip_isa_pkg::COMPUTE_GROUPS_LSB + unzip_isa_pkg::COMPUTE_GROUPS_W - WgenLsb;
  localparam int ListLsb = unzip_isa_pkg::CODES_LIST_LSB;
  localparam int ListW = unzip_isa_pkg::CODES_LIST_W;
  localparam int MacLsb = unzip_isa_pkg::COMPUTE_CODES_LSB;
  localparam int MacW =
      unzip_isa_pkg::COMPUTE_PIXELS_LSB + unzip_isa_pkg::COMPUTE_PIXELS_W - MacLsb;
  localparam int PostLsb = unzip_isa_pkg::COMPUTE_OUT_X_LSB;
  localparam int PostMsb =
      unzip_isa_pkg::COMPUTE_RES_BLOCK_FIRST_LSB + unzip_isa_pkg::COMPUTE_RES_BLOCK_FIRST_W;
  localparam int PostW = PostMsb - PostLsb;
  localparam int ResLsb = unzip_isa_pkg::RESIDUAL_RES_ROW_LSB;
  localparam int ResW =
      unzip_isa_pkg::RESIDUAL_RES_LIFT_LSB + unzip_isa_pkg::RESIDUAL_RES_LIFT_W - ResLsb;

  initial begin
    if (unzip_isa_pkg::CODES_LIST_LSB + unzip_isa_pkg::CODES_LIST_W > WgenLsb + WgenW) begin
      $fatal(1, "unzip_dispatch: CODES_LIST_W (%0d) is more than a wgen slice of %0d bits holds.",
             unzip_isa_pkg::CODES_LIST_W, WgenW);
    end
  end

  logic [WgenW-1:0] wgen_payload;
  logic [ MacW-1:0] mac_payload;
  logic [PostW-1:0] post_payload;
  assign wgen_mark_id_o = wgen_payload[15:0];
  assign mac_mark_id_o = mac_payload[15:0];
  assign post_mark_id_o = post_payload[15:0];
  assign wgen_instruction_o = 512'(wgen_payload) << WgenLsb;
  assign mac_instruction_o = mac_is_list_o ? 512'(mac_payload) << ListLsb :
      512'(mac_payload) << MacLsb;
  assign post_instruction_o = post_is_list_o ? 512'(post_payload) << ResLsb :
      512'(post_payload) << PostLsb;

  logic [7:0] opcode;
  logic is_compute, is_mark, is_list, is_residual, known;
  logic [4:0] mark_stages, list_stages;
  logic [15:0] mark_id;
  logic [2:0] wanted, space, push;  // wgen, mac, post

  assign opcode = instruction_i[unzip_isa_pkg::COMPUTE_OPCODE_LSB+:8];
  assign is_compute = opcode == 8'(unzip_isa_pkg::OPCODE_COMPUTE);
  assign is_mark = opcode == 8'(unzip_isa_pkg::OPCODE_MARK);
  assign is_list = opcode == 8'(unzip_isa_pkg::OPCODE_CODES);
  assign is_residual = opcode == 8'(unzip_isa_pkg::OPCODE_RESIDUAL);
  assign known = is_compute || is_mark || is_list || is_residual;
  assign mark_stages = instruction_i[unzip_isa_pkg::MARK_STAGES_LSB+:5];
  assign mark_id = instruction_i[unzip_isa_pkg::MARK_ID_LSB+:16];

  assign list_stages = instruction_i[unzip_isa_pkg::CODES_STAGES_LSB+:5];
  assign wanted[0] = is_compute || (is_list && list_stages[unzip_isa_pkg::STAGE_WGEN]) ||
      (is_mark && mark_stages[unzip_isa_pkg::STAGE_WGEN]);
  assign wanted[1] = is_compute || (is_list && list_stages[unzip_isa_pkg::STAGE_MAC]) ||
      (is_mark && mark_stages[unzip_isa_pkg::STAGE_MAC]);
  assign wanted[2] = (is_compute && instruction_i[unzip_isa_pkg::COMPUTE_REDUCE_LAST_LSB]) ||
      is_residual || (is_mark && mark_stages[unzip_isa_pkg::STAGE_POST]);

  // Tiles that the projector can do.
  logic domain_fits, kernel_fits, channel_fits;
  logic [6:0] codes;
  logic [2:0] stride_w;
  assign codes = instruction_i[unzip_isa_pkg::COMPUTE_CODES_LSB+:7];
  assign stride_w = instruction_i[unzip_isa_pkg::COMPUTE_STRIDE_W_LSB+:3];
  assign kernel_fits = (stride_w == 3'd1 || stride_w == 3'd2) && codes >= 7'd1 && codes <= 7'd8 &&
      instruction_i[unzip_isa_pkg::COMPUTE_KERNEL_H_LSB+:4] == 4'd3 &&
      instruction_i[unzip_isa_pkg::COMPUTE_KERNEL_W_LSB+:4] == 4'(stride_w) &&
      !instruction_i[unzip_isa_pkg::COMPUTE_ROW0_LSB];
  assign channel_fits = codes == 7'd1 || codes == 7'd2 || codes == 7'd4 || codes == 7'd8;
  assign domain_fits = !is_compute || !instruction_i[unzip_isa_pkg::COMPUTE_PROJECT_LSB] ||
      (PROJECTOR != 0 && instruction_i[unzip_isa_pkg::COMPUTE_GROUPS_LSB+:3] <= 3'd2 &&
       (instruction_i[unzip_isa_pkg::COMPUTE_CHANNEL_LSB] ? channel_fits : kernel_fits));

  // Decoded in one cycle, passed on from the next one on.
  logic decoded_q, known_q, domain_fits_q, is_mark_q, is_list_q, is_residual_q;
  logic [2:0] wanted_q;
  always_ff @(posedge clk_i) begin
    decoded_q <= rst_ni && valid_i && !ready_o;
    known_q <= known;
    domain_fits_q <= domain_fits;
    wanted_q <= wanted;
    is_mark_q <= is_mark;
    is_list_q <= is_list;
    is_residual_q <= is_residual;
  end

  assign ready_o = decoded_q && known_q && domain_fits_q && (wanted_q & ~space) == 3'b000;
  assign push = ready_o ? wanted_q : 3'b000;
  assign opcode_error_o = decoded_q && !known_q;
  assign domain_error_o = decoded_q && !domain_fits_q;

  unzip_fifo #(
      .WIDTH(WgenW + 34),
      .DEPTH(DEPTH)
  ) u_wgen (
      .clk_i,
      .rst_ni,
      .in_valid_i(push[0]),
      .in_ready_o(space[0]),
      .in_data_i({
        offset_i, is_list_q, is_mark_q, is_mark_q ? WgenW'(mark_id) : instruction_i[WgenLsb+:WgenW]
      }),
      .out_valid_o(wgen_valid_o),
      .out_ready_i(wgen_ready_i),
      .out_data_o({wgen_offset_o, wgen_is_list_o, wgen_is_mark_o, wgen_payload}),
      .count_o()
  );

  unzip_fifo #(
      .WIDTH(MacW + 34),
      .DEPTH(DEPTH)
  ) u_mac (
      .clk_i,
      .rst_ni,
      .in_valid_i(push[1]),
      .in_ready_o(space[1]),
      .in_data_i({
        offset_i,
        is_list_q,
        is_mark_q,
        is_mark_q ? MacW'(mark_id) : is_list_q ? MacW'(instruction_i[ListLsb+:ListW]) :
            instruction_i[MacLsb+:MacW]
      }),
      .out_valid_o(mac_valid_o),
      .out_ready_i(mac_ready_i),
      .out_data_o({mac_offset_o, mac_is_list_o, mac_is_mark_o, mac_payload}),
      .count_o()
  );

  // Pixels that all accumulate into row 0 leave one row to drain.
  logic [511:0] post_instruction;
  assign post_instruction = {
    instruction_i[511:unzip_isa_pkg::COMPUTE_PIXELS_LSB+unzip_isa_pkg::COMPUTE_PIXELS_W],
    instruction_i[unzip_isa_pkg::COMPUTE_ROW0_LSB] ? 12'd1 :
        instruction_i[unzip_isa_pkg::COMPUTE_PIXELS_LSB+:12],
    instruction_i[unzip_isa_pkg::COMPUTE_PIXELS_LSB-1:0]
  };

  // Twice as deep: the end of a layer, a RESIDUAL and the next layer's first tile wait here for the
  // drain, and that tile's weights are generated meanwhile.
  unzip_fifo #(
      .WIDTH(PostW + 34),
      .DEPTH(2 * DEPTH)
  ) u_post (
      .clk_i,
      .rst_ni,
      .in_valid_i(push[2]),
      .in_ready_o(space[2]),
      .in_data_i({
        offset_i,
        is_residual_q,
        is_mark_q,
        is_mark_q ? PostW'(mark_id) : is_residual_q ? PostW'(instruction_i[ResLsb+:ResW]) :
            post_instruction[PostLsb+:PostW]
      }),
      .out_valid_o(post_valid_o),
      .out_ready_i(post_ready_i),
      .out_data_o({post_offset_o, post_is_list_o, post_is_mark_o, post_payload}),
      .count_o()
  );

endmodule
