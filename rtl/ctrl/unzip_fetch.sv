// SPDX-License-Identifier: Apache-2.0
// Instruction fetch: reads the program header, then three instruction streams side by side.
//
// Interface: start_i begins at program_base_i. Each queue (bit 0 load, 1 compute, 2 store) is a stream of
// instructions with their byte offset from the program base. A stream's instructions are only asked for
// when its buffer has space, so that one full queue never blocks another. header_error_o and
// build_error_o pulse when the header is refused; nothing is fetched then. read_error_o: a beat of the
// instruction at read_error_offset_o came with an error. finished_o: all instructions of all streams
// have been taken. The lowest 6 bits of addresses do not count.
// Throughput: one instruction per 64 bytes of AXI beats, at most one in three cycles.
`include "unzip_assert.svh"
`include "unzip_limits.svh"

module unzip_fetch #(
    parameter int AXI_DATA_W = 64,
    parameter int AXI_ADDR_W = 40,
    localparam int BEATS_W = 9,
    parameter int QUEUE_DEPTH = 16  // instructions per queue, a power of two
) (
    input logic clk_i,
    input logic rst_ni,

    input  logic                  start_i,
    input  logic [AXI_ADDR_W-1:0] program_base_i,
    input  logic [          31:0] build_id_i,
    output logic                  header_error_o,
    output logic                  build_error_o,
    output logic                  read_error_o,
    output logic [          31:0] read_error_offset_o,
    output logic                  finished_o,

    output logic                  request_valid_o,
    input  logic                  request_ready_i,
    output logic [  AXI_ADDR_W:0] request_addr_o,
    output logic [   BEATS_W-1:0] request_beats_o,
    output logic [          31:0] request_offset_o,  // of the instruction asked for
    input  logic                  beat_valid_i,
    input  logic [AXI_DATA_W-1:0] beat_data_i,
    input  logic                  beat_error_i,

    output logic [      2:0] queue_valid_o,
    input  logic [      2:0] queue_ready_i,
    output logic [3*512-1:0] queue_data_o,
    output logic [ 3*32-1:0] queue_offset_o
);

  `UNZIP_LIMIT_AXI_DATA_W
  `UNZIP_LIMIT_AXI_ADDR_W
  `UNZIP_LIMIT_POWER(QUEUE_DEPTH, "QUEUE_DEPTH")

  localparam int InstructionW = 8 * unzip_isa_pkg::INSTRUCTION_BYTES;
  localparam int Beats = InstructionW / AXI_DATA_W;
  localparam int CountW = $clog2(QUEUE_DEPTH) + 1;
  localparam int BeatW = Beats > 1 ? $clog2(Beats) : 1;

  // ---- Requests: the header, then the streams in turn -----------------------------------------------
  logic want_header_q, run_q, wait_header_q;
  logic [95:0] offset_q, left_q;
  logic [2:0] ready_to_ask, ask;
  logic [1:0] turn_q, choice, chosen_q;
  logic [3*CountW-1:0] reserved_q;
  logic any, want_q, take, push_order, order_valid, instruction_done;
  logic [1:0] order_head;
  logic [31:0] order_offset;
  logic [InstructionW-1:0] instruction;
  logic [31:0] asked_offset_q;  // of what is asked for

  for (genvar q = 0; q < 3; q++) begin : g_ready
    assign ready_to_ask[q] = run_q && left_q[q*32+:32] != '0 &&
        reserved_q[q*CountW+:CountW] != CountW'(QUEUE_DEPTH);
  end

  // The queue whose turn it is, else the next one that wants.
  logic [1:0] second, third;
  assign second = turn_q == 2'd2 ? 2'd0 : turn_q + 1'b1;
  assign third = second == 2'd2 ? 2'd0 : second + 1'b1;
  assign choice = ready_to_ask[turn_q] ? turn_q : ready_to_ask[second] ? second : third;
  assign any = ready_to_ask != 3'b000;
  assign ask = push_order ? 3'b001 << chosen_q : 3'b000;

  // Chosen in one cycle, asked for from the next one on.
  always_ff @(posedge clk_i) begin
    want_q <= rst_ni && !start_i && !take && (want_q || want_header_q || any);
    if (!want_q) begin
      chosen_q <= choice;
      asked_offset_q <= want_header_q ? '0 : offset_q[choice*32+:32];
    end
  end

  assign request_valid_o = want_q;
  assign request_addr_o = ({1'b0, program_base_i} + (AXI_ADDR_W + 1)'(asked_offset_q)) &
      ~(AXI_ADDR_W + 1)'(63);
  assign request_beats_o = BEATS_W'(Beats);
  assign request_offset_o = asked_offset_q;
  assign take = request_valid_o && request_ready_i;
  assign push_order = take && !want_header_q;

  // Noted in the cycle after: the answer comes later.
  logic order_space, push_order_q;
  always_ff @(posedge clk_i) push_order_q <= rst_ni && push_order;

  unzip_fifo #(
      .WIDTH(2 + 32),
      .DEPTH(4 * QUEUE_DEPTH)
  ) u_order (
      .clk_i,
      .rst_ni,
      .in_valid_i(push_order_q),
      .in_ready_o(order_space),
      .in_data_i({asked_offset_q, chosen_q}),
      .out_valid_o(order_valid),
      .out_ready_i(instruction_done && !wait_header_q),
      .out_data_o({order_offset, order_head}),
      .count_o()
  );

  // ---- Answers -------------------------------------------------------------------------------------
  logic [BeatW-1:0] beat_q;
  logic done_q;

  if (Beats > 1) begin : g_collect
    logic [InstructionW-1:0] data_q;
    always_ff @(posedge clk_i) begin
      if (beat_valid_i) data_q <= {beat_data_i, data_q[InstructionW-1:AXI_DATA_W]};
    end
    assign instruction = data_q;
  end else begin : g_whole
    logic [InstructionW-1:0] data_q;
    always_ff @(posedge clk_i) begin
      if (beat_valid_i) data_q <= beat_data_i[InstructionW-1:0];
    end
    assign instruction = data_q;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      beat_q <= '0;
      done_q <= 1'b0;
    end else begin
      done_q <= beat_valid_i && beat_q == BeatW'(Beats - 1);
      if (beat_valid_i) beat_q <= beat_q == BeatW'(Beats - 1) ? '0 : beat_q + 1'b1;
    end
  end
  assign instruction_done = done_q;

  // A cycle late, when what stands at the head of the order is the instruction of the beat, whether or
  // not an instruction ended in the cycle before.
  logic error_q;
  always_ff @(posedge clk_i) error_q <= rst_ni && beat_valid_i && beat_error_i;
  assign read_error_o = error_q;
  assign read_error_offset_o = wait_header_q ? '0 : order_offset;

  // The header is looked at in the cycle after it has come.
  logic magic_ok_q, build_ok_q, header_done_q;
  logic header_good;
  always_ff @(posedge clk_i) begin
    header_done_q <= rst_ni && done_q && wait_header_q;
    magic_ok_q <= instruction[unzip_isa_pkg::HEADER_MAGIC_LSB+:32] == unzip_isa_pkg::ISA_MAGIC &&
      instruction[unzip_isa_pkg::HEADER_VERSION_LSB+:16] == 16'(unzip_isa_pkg::ISA_VERSION);
    build_ok_q <= instruction[unzip_isa_pkg::HEADER_BUILD_ID_LSB+:32] == build_id_i;
  end
  assign header_error_o = header_done_q && !magic_ok_q;
  assign build_error_o = header_done_q && magic_ok_q && !build_ok_q;
  assign header_good = header_done_q && magic_ok_q && build_ok_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      want_header_q <= 1'b0;
      wait_header_q <= 1'b0;
      run_q <= 1'b0;
      turn_q <= 2'd0;
    end else begin
      if (start_i) begin
        want_header_q <= 1'b1;
        wait_header_q <= 1'b1;
        run_q <= 1'b0;
        turn_q <= 2'd0;
      end else begin
        if (take) want_header_q <= 1'b0;
        if (done_q) wait_header_q <= 1'b0;
        if (header_good) run_q <= 1'b1;
        if (push_order) turn_q <= chosen_q == 2'd2 ? 2'd0 : chosen_q + 1'b1;
      end
    end
    if (header_good) begin
      offset_q <= {
        instruction[unzip_isa_pkg::HEADER_STORE_OFFSET_LSB+:32],
        instruction[unzip_isa_pkg::HEADER_COMPUTE_OFFSET_LSB+:32],
        instruction[unzip_isa_pkg::HEADER_LOAD_OFFSET_LSB+:32]
      };
      left_q <= {
        instruction[unzip_isa_pkg::HEADER_STORE_COUNT_LSB+:32],
        instruction[unzip_isa_pkg::HEADER_COMPUTE_COUNT_LSB+:32],
        instruction[unzip_isa_pkg::HEADER_LOAD_COUNT_LSB+:32]
      };
    end else if (push_order) begin
      for (int q = 0; q < 3; q++) begin
        if (ask[q]) begin
          offset_q[q*32+:32] <= offset_q[q*32+:32] + 32'(unzip_isa_pkg::INSTRUCTION_BYTES);
          left_q[q*32+:32]   <= left_q[q*32+:32] - 32'd1;
        end
      end
    end
  end

  // ---- Queues --------------------------------------------------------------------------------------
  // An instruction's offset counts up in its queue from the stream's start.
  logic [95:0] head_offset_q;
  logic [ 2:0] queue_space;

  for (genvar q = 0; q < 3; q++) begin : g_queue
    unzip_fifo #(
        .WIDTH(InstructionW),
        .DEPTH(QUEUE_DEPTH)
    ) u_queue (
        .clk_i,
        .rst_ni,
        .in_valid_i(done_q && !wait_header_q && order_head == 2'(q)),
        .in_ready_o(queue_space[q]),
        .in_data_i(instruction),
        .out_valid_o(queue_valid_o[q]),
        .out_ready_i(queue_ready_i[q]),
        .out_data_o(queue_data_o[q*InstructionW+:InstructionW]),
        .count_o()
    );

    always_ff @(posedge clk_i) begin
      if (!rst_ni) begin
        reserved_q[q*CountW+:CountW] <= '0;
      end else begin
        reserved_q[q*CountW+:CountW] <= reserved_q[q*CountW+:CountW] + CountW'(ask[q]) -
            CountW'(queue_valid_o[q] && queue_ready_i[q]);
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (header_good) begin
      head_offset_q <= {
        instruction[unzip_isa_pkg::HEADER_STORE_OFFSET_LSB+:32],
        instruction[unzip_isa_pkg::HEADER_COMPUTE_OFFSET_LSB+:32],
        instruction[unzip_isa_pkg::HEADER_LOAD_OFFSET_LSB+:32]
      };
    end else begin
      for (int q = 0; q < 3; q++) begin
        if (queue_valid_o[q] && queue_ready_i[q]) begin
          head_offset_q[q*32+:32] <=
              head_offset_q[q*32+:32] + 32'(unzip_isa_pkg::INSTRUCTION_BYTES);
        end
      end
    end
  end

  assign queue_offset_o = head_offset_q;
  assign finished_o = run_q && left_q == '0 && reserved_q == '0;

  `UNZIP_ASSERT(SpaceReserved,
                !(done_q && !wait_header_q) || (order_valid && queue_space[order_head]), clk_i,
                rst_ni)
  `UNZIP_ASSERT(OrderFits, !push_order || order_space, clk_i, rst_ni)

endmodule
