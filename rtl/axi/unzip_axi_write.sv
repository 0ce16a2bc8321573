// SPDX-License-Identifier: Apache-2.0
// AXI4 write channel: buffers beats and writes them in bursts.
//
// Interface: a job (address and number of beats), then its beats. A burst is requested only when all of its
// beats are in the buffer, so that what has been requested can always be completed, and aligned to its own
// length, so that none crosses a 4 KB border. A burst that is not wholly inside the write window,
// or that comes after halt_i, is not issued. done_o pulses when the last burst has been answered.
// Throughput: bursts of L beats in L + 1 cycles each.
`include "unzip_assert.svh"
`include "unzip_limits.svh"

module unzip_axi_write #(
    parameter int AXI_DATA_W = 64,
    parameter int AXI_ADDR_W = 40,
    parameter int BURST_LEN  = 16
) (
    input  logic clk_i,
    input  logic rst_ni,  // the engine's reset: only when idle_o
    input  logic halt_i,  // issue nothing new
    output logic idle_o,  // no write is owed

    input logic [AXI_ADDR_W-1:0] window_first_i,
    input logic [AXI_ADDR_W-1:0] window_last_i,
    output logic window_error_o,
    output logic response_error_o,

    input  logic                job_valid_i,
    output logic                job_ready_o,
    input  logic [AXI_ADDR_W:0] job_addr_i,
    input  logic [        31:0] job_beats_i,
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

  localparam int ByteW = $clog2(AXI_DATA_W / 8);
  localparam int Depth = BURST_LEN < 2 ? 4 : 2 * BURST_LEN;
  localparam int CountW = $clog2(Depth) + 1;
  localparam int AddrW = AXI_ADDR_W + 1;

  // ---- Buffer --------------------------------------------------------------------------------------
  logic head_valid, head_pop;
  logic [CountW-1:0] count, unasked_q;
  logic [8:0] burst, burst_q, asked_left_q;
  logic aw_take, beat_take;

  unzip_fifo #(
      .WIDTH(AXI_DATA_W + AXI_DATA_W / 8),
      .DEPTH(Depth)
  ) u_buffer (
      .clk_i,
      .rst_ni,
      .in_valid_i(beat_valid_i),
      .in_ready_o(beat_ready_o),
      .in_data_i({beat_strobe_i, beat_data_i}),
      .out_valid_o(head_valid),
      .out_ready_i(head_pop),
      .out_data_o({m_axi_wstrb, m_axi_wdata}),
      .count_o(count)
  );
  assign beat_take = beat_valid_i && beat_ready_o;

  // ---- Bursts --------------------------------------------------------------------------------------
  logic job_q, aw_valid_q, plan_q, checked_q, in_window_q, asked_q, asked_last_q;
  logic [AddrW-1:0] addr_q, last_q;
  logic [31:0] beats_left_q;
  logic [8:0] to_border;
  logic [AXI_ADDR_W-1:0] aw_addr_q;
  logic [7:0] aw_len_q, owed_q;
  logic want, in_window;

  assign job_ready_o = !job_q;
  assign to_border = 9'(BURST_LEN) - (9'(addr_q >> ByteW) & 9'(BURST_LEN - 1));
  assign burst = beats_left_q < 32'(to_border) ? beats_left_q[8:0] : to_border;
  assign in_window = !addr_q[AddrW-1] && !last_q[AddrW-1] &&
      addr_q[AXI_ADDR_W-1:0] >= window_first_i &&
      last_q[AXI_ADDR_W-1:0] <= window_last_i;
  // One burst after the other on W: the next is asked for when the last beat of this one goes.
  assign want = checked_q && 32'(unasked_q) >= 32'(burst_q) && !halt_i;
  assign aw_take = want && in_window_q && !aw_valid_q && !asked_q && owed_q != 8'hff;
  assign window_error_o = want && !in_window_q;
  assign done_o = job_q && beats_left_q == '0 && owed_q == '0 && !aw_valid_q;
  assign idle_o = !aw_valid_q && owed_q == '0;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      job_q <= 1'b0;
      aw_valid_q <= 1'b0;
      plan_q <= 1'b0;
      checked_q <= 1'b0;
      asked_q <= 1'b0;
      owed_q <= '0;
      unasked_q <= '0;
      asked_left_q <= '0;
    end else begin
      if (job_valid_i && job_ready_o) begin
        job_q <= 1'b1;
      end else if (done_o) begin
        job_q <= 1'b0;
      end
      if (aw_take) begin
        aw_valid_q <= 1'b1;
      end else if (m_axi_awready) begin
        aw_valid_q <= 1'b0;
      end
      plan_q <= job_q && beats_left_q != '0 && !aw_take;
      checked_q <= plan_q && !aw_take;
      owed_q <= owed_q + 8'(aw_take) - 8'(m_axi_bvalid);
      unasked_q <= unasked_q + CountW'(beat_take) - (aw_take ? CountW'(burst_q) : '0);
      if (aw_take) begin
        asked_left_q <= burst_q;
        asked_q <= 1'b1;
      end else if (head_pop) begin
        asked_left_q <= asked_left_q - 1'b1;
        asked_q <= !asked_last_q;
      end
    end
    if (job_valid_i && job_ready_o) begin
      addr_q <= job_addr_i;
      beats_left_q <= job_beats_i;
    end else if (aw_take) begin
      addr_q <= addr_q + (AddrW'(burst_q) << ByteW);
      beats_left_q <= beats_left_q - 32'(burst_q);
    end
    if (aw_take) begin
      asked_last_q <= burst_q == 9'd1;
    end else if (head_pop) begin
      asked_last_q <= asked_left_q == 9'd2;
    end
    // The next burst: planned in one cycle, checked in the next one, then asked for.
    burst_q <= burst;
    in_window_q <= in_window;
    last_q <= {addr_q[AddrW-1:12], addr_q[11:0] + (12'(burst) << ByteW) - 12'd1};
    if (aw_take) begin
      aw_addr_q <= addr_q[AXI_ADDR_W-1:0];
      aw_len_q  <= 8'(burst_q - 1'b1);
    end
  end

  assign head_pop = m_axi_wvalid && m_axi_wready;
  assign written_o = head_pop ? 8'(AXI_DATA_W / 8) : 8'd0;

  assign m_axi_awvalid = aw_valid_q;
  assign m_axi_awaddr = aw_addr_q;
  assign m_axi_awlen = aw_len_q;
  assign m_axi_awsize = 3'(ByteW);
  assign m_axi_awburst = 2'b01;
  assign m_axi_wvalid = asked_q && head_valid;
  assign m_axi_wlast = asked_last_q;
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
  `UNZIP_ASSERT(AskedIsBuffered, 32'(asked_left_q) <= 32'(count), clk_i, rst_ni)
  `UNZIP_ASSERT(AnswerIsOwed, !m_axi_bvalid || owed_q != '0, clk_i, rst_ni)

endmodule
