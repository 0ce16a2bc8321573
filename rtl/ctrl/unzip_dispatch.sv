// SPDX-License-Identifier: Apache-2.0
// Splits the compute queue into the streams of the weights generator, the MAC stage and the post stage.
//
// Interface: an instruction stream with its byte offset in, three streams out. A stream's word is {is_list, is_mark,
// payload}: the payload of a mark is its id, of a code list the page and the list, else the stage's
// slice of the COMPUTE instruction. opcode_error_o: the head is none of these.
// Throughput: one instruction a cycle; a full stage queue stalls only what needs it.

module unzip_dispatch #(
    // Slices of an instruction that the stages use; that of wgen holds a code list, too.
    parameter int WGEN_LSB = unzip_isa_pkg::COMPUTE_WGEN_WAIT_LSB,
    parameter int WGEN_W = unzip_isa_pkg::CODES_LIST_LSB + unzip_isa_pkg::CODES_LIST_W - WGEN_LSB,
    parameter int MAC_LSB = unzip_isa_pkg::COMPUTE_KERNEL_H_LSB,
    parameter int MAC_W = unzip_isa_pkg::COMPUTE_PIXELS_LSB + unzip_isa_pkg::COMPUTE_PIXELS_W - MAC_LSB,
    parameter int POST_LSB = unzip_isa_pkg::COMPUTE_OUT_X_LSB,
    parameter int POST_W = unzip_isa_pkg::COMPUTE_POOL_W_LSB + unzip_isa_pkg::COMPUTE_POOL_W_W - POST_LSB,
    parameter int DEPTH = 2  // instructions waiting per stage
) (
    input logic clk_i,
    input logic rst_ni,

    input  logic         valid_i,
    output logic         ready_o,
    input  logic [511:0] instruction_i,
    output logic         opcode_error_o,

    output logic              wgen_valid_o,
    input  logic              wgen_ready_i,
    output logic [WGEN_W+1:0] wgen_data_o,
    output logic              mac_valid_o,
    input  logic              mac_ready_i,
    output logic [ MAC_W+1:0] mac_data_o,
    output logic              post_valid_o,
    input  logic              post_ready_i,
    output logic [POST_W+1:0] post_data_o
);

  logic [7:0] opcode;
  logic is_compute, is_mark, is_list, known;
  logic [4:0] mark_stages;
  logic [15:0] mark_id;
  logic [2:0] wanted, space, push;  // wgen, mac, post

  assign opcode = instruction_i[unzip_isa_pkg::COMPUTE_OPCODE_LSB+:8];
  assign is_compute = opcode == 8'(unzip_isa_pkg::OPCODE_COMPUTE);
  assign is_mark = opcode == 8'(unzip_isa_pkg::OPCODE_MARK);
  assign is_list = opcode == 8'(unzip_isa_pkg::OPCODE_CODES);
  assign known = is_compute || is_mark || is_list;
  assign mark_stages = instruction_i[unzip_isa_pkg::MARK_STAGES_LSB+:5];
  assign mark_id = instruction_i[unzip_isa_pkg::MARK_ID_LSB+:16];

  assign wanted[0] = is_compute || is_list ||
      (is_mark && mark_stages[unzip_isa_pkg::STAGE_WGEN]);
  assign wanted[1] = is_compute || (is_mark && mark_stages[unzip_isa_pkg::STAGE_MAC]);
  assign wanted[2] = (is_compute && instruction_i[unzip_isa_pkg::COMPUTE_REDUCE_LAST_LSB]) ||
      (is_mark && mark_stages[unzip_isa_pkg::STAGE_POST]);

  assign ready_o = known && (wanted & ~space) == 3'b000;
  assign push = valid_i && ready_o ? wanted : 3'b000;
  assign opcode_error_o = valid_i && !known;

  unzip_fifo #(
      .WIDTH(WGEN_W + 2),
      .DEPTH(DEPTH)
  ) u_wgen (
      .clk_i,
      .rst_ni,
      .in_valid_i(push[0]),
      .in_ready_o(space[0]),
      .in_data_i({is_list, is_mark, is_mark ? WGEN_W'(mark_id) : instruction_i[WGEN_LSB+:WGEN_W]}),
      .out_valid_o(wgen_valid_o),
      .out_ready_i(wgen_ready_i),
      .out_data_o(wgen_data_o),
      .count_o()
  );

  unzip_fifo #(
      .WIDTH(MAC_W + 2),
      .DEPTH(DEPTH)
  ) u_mac (
      .clk_i,
      .rst_ni,
      .in_valid_i(push[1]),
      .in_ready_o(space[1]),
      .in_data_i({1'b0, is_mark, is_mark ? MAC_W'(mark_id) : instruction_i[MAC_LSB+:MAC_W]}),
      .out_valid_o(mac_valid_o),
      .out_ready_i(mac_ready_i),
      .out_data_o(mac_data_o),
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

  unzip_fifo #(
      .WIDTH(POST_W + 2),
      .DEPTH(DEPTH)
  ) u_post (
      .clk_i,
      .rst_ni,
      .in_valid_i(push[2]),
      .in_ready_o(space[2]),
      .in_data_i({
        1'b0, is_mark, is_mark ? POST_W'(mark_id) : post_instruction[POST_LSB+:POST_W]
      }),
      .out_valid_o(post_valid_o),
      .out_ready_i(post_ready_i),
      .out_data_o(post_data_o),
      .count_o()
  );

endmodule
