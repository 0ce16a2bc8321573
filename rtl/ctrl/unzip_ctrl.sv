// SPDX-License-Identifier: Apache-2.0
// Run control: start, end, error and soft reset of the engine.
//
// States: idle -> run -> idle (done) or error; from each of them a soft reset first stops all new bus
// requests (halt_o), waits until every owed beat and answer has come, then resets the engine.
// Interface: start_i is ignored unless idle and free of error. The first error wins: its code, stage
// and instruction address are kept until the next soft reset or start. Errors are seen two
// cycles late, the end one; codes and stages of the sources are constants. The address comes a cycle after
// failed_o.
`include "unzip_limits.svh"

module unzip_ctrl #(
    parameter int AXI_ADDR_W = 40,
    parameter int SOURCES = 8  // error sources, the lowest wins
) (
    input logic clk_i,
    input logic rst_ni,

    input  logic start_i,
    input  logic soft_reset_i,
    output logic busy_o,
    output logic error_o,
    output logic resetting_o,
    output logic done_o,        // pulse: the program has ended without error
    output logic failed_o,      // pulse: the engine has stopped on an error

    input  logic [   SOURCES-1:0] error_i,
    input  logic [ SOURCES*8-1:0] error_code_i,
    input  logic [ SOURCES*3-1:0] error_stage_i,
    input  logic [SOURCES*32-1:0] error_offset_i,  // of the instruction, from base_i on
    input  logic [AXI_ADDR_W-1:0] base_i,
    output logic [           7:0] code_o,
    output logic [           2:0] stage_o,
    output logic [AXI_ADDR_W-1:0] addr_o,

    output logic start_o,        // to the fetch unit
    output logic halt_o,         // no new job, no new bus request
    output logic engine_rst_no,
    input  logic finished_i,     // every instruction has been taken and every unit is idle
    input  logic bus_idle_i      // nothing is owed on the bus
);

  `UNZIP_LIMIT_AXI_ADDR_W
  `UNZIP_LIMIT_LOWEST(SOURCES, "SOURCES", 1)

  localparam logic [1:0] Idle = 2'd0, Run = 2'd1, Error = 2'd2, Drain = 2'd3;
  logic [1:0] state_q;
  logic engine_rst_nq, start_q, halt_q;
  logic [7:0] code;
  logic [2:0] stage;
  logic [31:0] offset, offset_q;
  logic [SOURCES-1:0] error_q, first, first_q;  // first: the lowest one only
  logic [SOURCES*32-1:0] error_offset_q;
  logic finished_q;

  always_ff @(posedge clk_i) begin
    error_q <= rst_ni && state_q == Run ? error_i : '0;
    first_q <= rst_ni && state_q == Run ? first : '0;
    for (int s = 0; s < SOURCES; s++) begin  // an error's offset is kept until one is chosen
      if (!error_q[s]) error_offset_q[s*32+:32] <= error_offset_i[s*32+:32];
    end
    finished_q <= rst_ni && state_q == Run && !start_q && finished_i;
  end

  for (genvar s = 0; s < SOURCES; s++) begin : g_first
    logic lower;
    if (s == 0) begin : g_none
      assign lower = 1'b0;
    end else begin : g_lower
      assign lower = |error_q[s-1:0];
    end
    assign first[s] = error_q[s] && !lower;
  end

  always_comb begin
    code   = '0;
    stage  = '0;
    offset = '0;
    for (int s = 0; s < SOURCES; s++) begin
      if (first_q[s]) begin
        code   = code | error_code_i[s*8+:8];
        stage  = stage | error_stage_i[s*3+:3];
        offset = offset | error_offset_q[s*32+:32];
      end
    end
  end

  always_ff @(posedge clk_i) begin
    start_q <= 1'b0;
    done_o <= 1'b0;
    failed_o <= 1'b0;
    engine_rst_nq <= 1'b1;
    halt_q <= 1'b0;
    if (!rst_ni) begin
      state_q <= Idle;
      halt_q <= 1'b1;
      code_o <= '0;
      stage_o <= '0;
      addr_o <= '0;
      engine_rst_nq <= 1'b0;
    end else begin
      if (failed_o) addr_o <= base_i + AXI_ADDR_W'(offset_q);
      case (state_q)
        Idle: begin
          if (soft_reset_i) begin
            state_q <= Drain;
            halt_q  <= 1'b1;
          end else if (start_i) begin
            state_q <= Run;
            start_q <= 1'b1;
            code_o  <= '0;
            stage_o <= '0;
            addr_o  <= '0;
          end
        end
        Run: begin
          if (soft_reset_i) begin
            state_q <= Drain;
            halt_q  <= 1'b1;
          end else if (first_q != '0) begin
            state_q  <= Error;
            halt_q   <= 1'b1;
            failed_o <= 1'b1;
            code_o   <= code;
            stage_o  <= stage;
            offset_q <= offset;
          end else if (finished_q && error_q == '0) begin
            state_q <= Idle;
            done_o  <= 1'b1;
          end
        end
        Error: begin
          halt_q <= 1'b1;
          if (soft_reset_i) state_q <= Drain;
        end
        default: begin
          halt_q <= 1'b1;
          if (bus_idle_i) begin
            state_q <= Idle;
            engine_rst_nq <= 1'b0;
            code_o <= '0;
            stage_o <= '0;
            addr_o <= '0;
          end
        end
      endcase
    end
  end

  assign start_o = start_q;
  // In states Error and Drain, and in the cycle of the engine's reset: its units still show what they wanted
  // before.
  assign halt_o = halt_q;
  assign engine_rst_no = engine_rst_nq;
  assign busy_o = state_q == Run;
  assign error_o = state_q == Error;
  assign resetting_o = state_q == Drain;

endmodule
