// SPDX-License-Identifier: Apache-2.0
// AXI4 write channel: buffers beats and writes them in bursts.
//
// Interface: a job (see unzip_bursts), then its beats. A burst is requested only when all of its
// beats are in the buffer, so that what has been requested can always be completed. A burst that is not wholly
// inside the write window, or that comes after halt_i, is not issued, nor any behind it. done_o pulses when the
// last burst of a job has been answered; jobs overlap, answers come in order.
// Throughput: a beat a cycle across bursts, runs and jobs, one burst in two cycles.
`include "unzip_assert.svh"
`include "unzip_limits.svh"

module unzip_axi_write #(
    parameter int AXI_DATA_W = 64,
    parameter int AXI_ADDR_W = 40,
    parameter int BURST_LEN = 16,
    parameter int BURSTS = 128  // that wait for their answer, a power of two
) (
    input  logic clk_i,
    input  logic rst_ni,  // the engine's reset: only when idle_o
    input  logic halt_i,  // issue nothing new
    output logic idle_o,  // no write is owed

    input logic [AXI_ADDR_W-1:0] window_first_i,
    input logic [AXI_ADDR_W-1:0] window_last_i,
    output logic window_error_o,
    output logic [31:0] window_offset_o,  // of the instruction
    output logic response_error_o,
    output logic [31:0] response_offset_o,  // of the instruction

    input  logic                job_valid_i,
    output logic                job_ready_o,
    input  logic [AXI_ADDR_W:0] job_addr_i,
    input  logic [        31:0] job_bytes_i,   // of a run
    input  logic [        23:0] job_words_i,
    input  logic [        23:0] job_run_i,
    input  logic [        39:0] job_pitch_i,
    input  logic [        31:0] job_offset_i,
    output logic                done_o,

    input  logic                    beat_valid_i,
    output logic                    beat_ready_o,
    input  logic [  AXI_DATA_W-1:0] beat_data_i,
    input  logic [AXI_DATA_W/8-1:0] beat_strobe_i,
    output logic [             7:0] written_o,      // bytes in the beat accepted in this cycle

    output logic                    m_axi_awvalid,
    input  logic                    m_axi_awready,
    output logic [  AXI_ADDR_W-1:0] m_axi_awaddr,
    output logic [             7:0] m_axi_awlen,
    output logic [             2:0] m_axi_awsize,
    output logic [             1:0] m_axi_awburst,
    output logic                    m_axi_wvalid,
    input  logic                    m_axi_wready,
    output logic [  AXI_DATA_W-1:0] m_axi_wdata,
    output logic [AXI_DATA_W/8-1:0] m_axi_wstrb,
    output logic                    m_axi_wlast,
    input  logic                    m_axi_bvalid,
    output logic                    m_axi_bready,
    input  logic [             1:0] m_axi_bresp
);

  `UNZIP_LIMIT_AXI_DATA_W
  `UNZIP_LIMIT_AXI_ADDR_W
  `UNZIP_LIMIT_BURST_LEN
  `UNZIP_LIMIT_POWER(BURSTS, "BURSTS")

  localparam int ByteW = $clog2(AXI_DATA_W / 8);
  localparam int Depth = BURST_LEN < 8 ? 16 : 2 * BURST_LEN;
  localparam int AddrW = AXI_ADDR_W + 1;
  localparam int StrobeW = AXI_DATA_W / 8;
  localparam int AskW = $clog2(Depth) + 1;

  // ---- Beats go to the buffer burst by burst ---------------------------------------------------------
  logic burst_valid, burst_done, burst_last, beat_take, buffer_ready, whole_ready, beat_last;
  logic [AddrW-1:0] burst_addr;
  logic [8:0] burst_beats, beat_q;  // number of the burst's next beat, from 1 on
  logic [31:0] burst_offset;

  unzip_bursts #(
      .AXI_DATA_W(AXI_DATA_W),
      .AXI_ADDR_W(AXI_ADDR_W),
      .BURST_LEN (BURST_LEN)
  ) u_bursts (
      .clk_i,
      .rst_ni,
      .job_valid_i,
      .job_ready_o,
      .job_addr_i,
      .job_bytes_i,
      .job_words_i,
      .job_run_i,
      .job_pitch_i,
      .job_offset_i,
      .busy_o(),
      .burst_valid_o(burst_valid),
      .burst_ready_i(burst_done),
      .burst_addr_o(burst_addr),
      .burst_beats_o(burst_beats),
      .burst_last_o(burst_last),
      .burst_offset_o(burst_offset)
  );

  assign beat_last = beat_q == burst_beats;
  assign beat_ready_o = burst_valid && buffer_ready && whole_ready;
  assign beat_take = beat_valid_i && beat_ready_o;
  assign burst_done = beat_take && beat_last;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      beat_q <= 9'd1;
    end else if (beat_take) begin
      beat_q <= beat_last ? 9'd1 : beat_q + 1'b1;
    end
  end

  logic head_valid, head_pop;

  unzip_fifo #(
      .WIDTH(1 + StrobeW + AXI_DATA_W),
      .DEPTH(Depth)
  ) u_buffer (
      .clk_i,
      .rst_ni,
      .in_valid_i(beat_take),
      .in_ready_o(buffer_ready),
      .in_data_i({beat_last, beat_strobe_i, beat_data_i}),
      .out_valid_o(head_valid),
      .out_ready_i(head_pop),
      .out_data_o({m_axi_wlast, m_axi_wstrb, m_axi_wdata}),
      .count_o()
  );

  // ---- Bursts whose beats are all in the buffer: checked in two cycles, then asked for ------------------
  logic whole_valid, whole_last, check_move;
  logic [AddrW-1:0] whole_addr;
  logic [7:0] burst_len, whole_len;
  logic [31:0] whole_offset;

  assign burst_len = 8'(burst_beats - 1'b1);

  unzip_fifo #(
      .WIDTH(AddrW + 8 + 1 + 32),
      .DEPTH(4)
  ) u_whole (
      .clk_i,
      .rst_ni,
      .in_valid_i(burst_done),
      .in_ready_o(whole_ready),
      .in_data_i({burst_addr, burst_len, burst_last, burst_offset}),
      .out_valid_o(whole_valid),
      .out_ready_i(check_move),
      .out_data_o({whole_addr, whole_len, whole_last, whole_offset}),
      .count_o()
  );

  logic first_q, second_q, in_window_q, first_last_q, second_last_q, aw_take, want;
  logic [AddrW-1:0] first_addr_q, first_end_q;
  logic [AXI_ADDR_W-1:0] second_addr_q;
  logic [7:0] first_len_q, second_len_q;
  logic [31:0] first_offset_q, second_offset_q;
  logic second_move;

  // A burst moves on into an empty place: no path runs through all of them.
  assign second_move = !second_q;
  assign check_move  = !first_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      first_q  <= 1'b0;
      second_q <= 1'b0;
    end else begin
      first_q  <= first_q ? !second_move : whole_valid;
      second_q <= second_q ? !aw_take : first_q;
    end
    if (check_move) begin
      first_addr_q <= whole_addr;
      // No burst crosses a 4 KB border: the upper bits stay.
      first_end_q <= {
        whole_addr[AddrW-1:12],
        whole_addr[11:0] + (12'(whole_len) << ByteW) + 12'(AXI_DATA_W / 8 - 1)
      };
      first_len_q <= whole_len;
      first_last_q <= whole_last;
      first_offset_q <= whole_offset;
    end
    if (second_move) begin
      in_window_q <= !first_addr_q[AddrW-1] && !first_end_q[AddrW-1] &&
          first_addr_q[AXI_ADDR_W-1:0] >= window_first_i &&
          first_end_q[AXI_ADDR_W-1:0] <= window_last_i;
      second_addr_q <= first_addr_q[AXI_ADDR_W-1:0];
      second_len_q <= first_len_q;
      second_last_q <= first_last_q;
      second_offset_q <= first_offset_q;
    end
  end

  // ---- Addresses, data, answers ----------------------------------------------------------------------
  logic aw_valid_q, asked_q, owed_ready, owed_valid, owed_last, go_last;
  logic [AXI_ADDR_W-1:0] aw_addr_q;
  logic [7:0] aw_len_q;
  logic [AskW-1:0] asked, asked_count_q;  // bursts asked for whose data is in the buffer

  assign want = second_q && !halt_i;
  assign aw_take = want && in_window_q && !aw_valid_q && owed_ready;
  assign window_error_o = want && !in_window_q;
  assign window_offset_o = second_offset_q;
  assign idle_o = !aw_valid_q && !owed_valid;
  assign head_pop = m_axi_wvalid && m_axi_wready;
  assign go_last = head_pop && m_axi_wlast;
  assign asked = asked_count_q + AskW'(aw_take) - AskW'(go_last);

  unzip_fifo #(
      .WIDTH(1 + 32),
      .DEPTH(BURSTS)
  ) u_owed (
      .clk_i,
      .rst_ni,
      .in_valid_i(aw_take),
      .in_ready_o(owed_ready),
      .in_data_i({second_last_q, second_offset_q}),
      .out_valid_o(owed_valid),
      .out_ready_i(m_axi_bvalid),
      .out_data_o({owed_last, response_offset_o}),
      .count_o()
  );

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      aw_valid_q <= 1'b0;
      asked_count_q <= '0;
      asked_q <= 1'b0;
      done_o <= 1'b0;
    end else begin
      aw_valid_q <= aw_take || (aw_valid_q && !m_axi_awready);
      asked_count_q <= asked;
      asked_q <= asked != '0;
      done_o <= m_axi_bvalid && owed_last;
    end
    if (aw_take) begin
      aw_addr_q <= second_addr_q;
      aw_len_q  <= second_len_q;
    end
  end

  assign written_o = head_pop ? 8'(AXI_DATA_W / 8) : 8'd0;
  assign m_axi_awvalid = aw_valid_q;
  assign m_axi_awaddr = aw_addr_q;
  assign m_axi_awlen = aw_len_q;
  assign m_axi_awsize = 3'(ByteW);
  assign m_axi_awburst = 2'b01;
  assign m_axi_wvalid = asked_q && head_valid;
  assign m_axi_bready = 1'b1;
  assign response_error_o = m_axi_bvalid && m_axi_bresp >= 2'd2;

  `UNZIP_ASSERT_STREAM(AwStable, m_axi_awvalid, m_axi_awready, ({m_axi_awaddr, m_axi_awlen}),
                       AXI_ADDR_W + 8, clk_i, rst_ni)
  `UNZIP_ASSERT_STREAM(WStable, m_axi_wvalid, m_axi_wready, ({m_axi_wdata, m_axi_wstrb, m_axi_wlast
                       }), AXI_DATA_W + AXI_DATA_W / 8 + 1, clk_i, rst_ni)
  `UNZIP_ASSERT(
      No4KBorder,
      !m_axi_awvalid || 13'(m_axi_awaddr[11:0]) + ((13'(m_axi_awlen) + 13'd1) << ByteW) <= 13'd4096,
      clk_i, rst_ni)
  `UNZIP_ASSERT(AskedIsBuffered, !asked_q || head_valid, clk_i, rst_ni)
  `UNZIP_ASSERT(AnswerIsOwed, !m_axi_bvalid || owed_valid, clk_i, rst_ni)

endmodule
