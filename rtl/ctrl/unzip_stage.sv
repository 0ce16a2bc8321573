// SPDX-License-Identifier: Apache-2.0
// Front of a stage: takes the instructions of its queue in order, waits for their tokens, hands the job
// to the unit, and gives the job's tokens when the unit says that it is done.
//
// Interface: an instruction stream with its kind (one-hot: job, mark, list) and token masks; a job
// handshake to the unit (the payload does not pass through here); mark and list handshakes, both only
// when the unit is idle. The unit finishes its jobs in order and pulses unit_done_i for each; done_offset_o
// is, a cycle later, the offset of the job's instruction, and its tokens are given.
// Throughput: one instruction in three cycles.
`include "unzip_assert.svh"
`include "unzip_limits.svh"

module unzip_stage #(
    parameter int TOKENS = 12,
    parameter int JOBS   = 8    // that the unit may hold, a power of two
) (
    input logic clk_i,
    input logic rst_ni,
    input logic halt_i,  // start nothing new, from the next cycle on

    input  logic              valid_i,
    output logic              ready_o,
    input  logic              is_job_i,
    input  logic              is_mark_i,
    input  logic              is_list_i,
    input  logic [TOKENS-1:0] wait_i,
    input  logic [TOKENS-1:0] signal_i,
    input  logic [      31:0] offset_i,

    input  logic [TOKENS-1:0] tokens_i,      // tokens there to be taken
    output logic [TOKENS-1:0] take_o,
    output logic [TOKENS-1:0] give_o,
    output logic [      31:0] done_offset_o,

    output logic job_valid_o,
    input  logic job_ready_i,
    input  logic unit_done_i,
    input  logic unit_busy_i,
    output logic mark_valid_o,
    input  logic mark_ready_i,
    output logic list_valid_o,
    output logic waits_o,       // a job waits for a token
    output logic pending_o,     // the unit holds a job; done_offset_o is that of the oldest one
    output logic idle_o
);

  `UNZIP_LIMIT_LOWEST(TOKENS, "TOKENS", 1)
  `UNZIP_LIMIT_POWER(JOBS, "JOBS")

  logic tokens_there, job_take, job_taken_q, space, idle, done_q, job_q, mark_q, list_q;
  logic taken, taken_q;  // the instruction leaves its queue in the cycle after it is taken
  logic [TOKENS-1:0] signal;
  logic pending;

  assign tokens_there = (wait_i & ~tokens_i) == '0;
  assign job_valid_o = job_q;
  assign job_take = job_valid_o && job_ready_i;
  assign take_o = job_take ? wait_i : '0;
  assign waits_o = valid_i && is_job_i && !taken_q && !tokens_there;

  // The tokens and offsets of the jobs that the unit holds, noted in the cycle after the job was taken.
  unzip_fifo #(
      .WIDTH(TOKENS + 32),
      .DEPTH(JOBS)
  ) u_signals (
      .clk_i,
      .rst_ni,
      .in_valid_i(job_taken_q),
      .in_ready_o(space),
      .in_data_i({offset_i, signal_i}),
      .out_valid_o(pending),
      .out_ready_i(done_q),
      .out_data_o({done_offset_o, signal}),
      .count_o()
  );
  assign give_o = done_q ? signal : '0;
  assign pending_o = pending;

  assign idle = !pending && !job_taken_q && !unit_busy_i;
  assign mark_valid_o = mark_q;
  assign list_valid_o = list_q;
  assign taken = job_take || (mark_valid_o && mark_ready_i) || list_valid_o;
  assign ready_o = taken_q;
  assign idle_o = idle && !valid_i;

  logic next;
  assign next = rst_ni && valid_i && !halt_i && !taken && !taken_q;

  always_ff @(posedge clk_i) begin
    done_q <= rst_ni && unit_done_i;
    // Tokens that are there stay: no other stage takes them. So does the space for the job's own.
    job_q <= next && is_job_i && tokens_there && space;
    mark_q <= next && is_mark_i && idle;
    list_q <= next && is_list_i && idle;
    taken_q <= rst_ni && taken;
    job_taken_q <= rst_ni && job_take;
  end

  `UNZIP_ASSERT(DoneIsOwed, !done_q || pending, clk_i, rst_ni)
  `UNZIP_ASSERT(OneKind, !valid_i || 2'(is_job_i) + 2'(is_mark_i) + 2'(is_list_i) == 2'd1, clk_i,
                rst_ni)

endmodule
