// SPDX-License-Identifier: Apache-2.0
// AXI4 read channel shared by instruction fetch (ID 0) and load DMA (ID 1).
//
// Interface: two burst request streams, fetch first. A requester asks only when it has space
// for the whole burst, so the R channel never waits. A request must not cross a 4 KB border (the
// requesters align their bursts). A burst that is not wholly inside the read window, or that comes after
// halt_i, is not issued: window_error_o with the request's offset, or nothing, answers it. Nothing of its requester
// is issued after it, until halt_i.
// Throughput: one burst in two cycles, one beat a cycle.
`include "unzip_assert.svh"
`include "unzip_limits.svh"

module unzip_axi_read #(
    parameter int AXI_DATA_W = 64,
    parameter int AXI_ADDR_W = 40,
    localparam int BEATS_W = 9  // bits of a burst length in beats
) (
    input  logic clk_i,
    input  logic rst_ni,  // only the reset pin: it must see every owed beat
    input  logic halt_i,  // issue nothing new, drop what waits
    output logic idle_o,  // no read is owed

    input logic [AXI_ADDR_W-1:0] window_first_i,
    input logic [AXI_ADDR_W-1:0] window_last_i,

    // bit 0: fetch, bit 1: load. One more address bit than AXI has, to see a wrap.
    input  logic [                 1:0] request_valid_i,
    output logic [                 1:0] request_ready_o,
    input  logic [2*(AXI_ADDR_W+1)-1:0] request_addr_i,
    input  logic [       2*BEATS_W-1:0] request_beats_i,   // 1 to 256
    input  logic [            2*32-1:0] request_offset_i,  // of the instruction
    output logic [                 1:0] window_error_o,
    output logic [            2*32-1:0] window_offset_o,   // of the request that is in error

    output logic [           1:0] beat_valid_o,
    output logic [AXI_DATA_W-1:0] beat_data_o,
    output logic                  beat_last_o,   // of its burst
    output logic [           1:0] beat_error_o,  // SLVERR or DECERR came with the beat

    output logic                  m_axi_arvalid,
    input  logic                  m_axi_arready,
    output logic                  m_axi_arid,
    output logic [AXI_ADDR_W-1:0] m_axi_araddr,
    output logic [           7:0] m_axi_arlen,
    output logic [           2:0] m_axi_arsize,
    output logic [           1:0] m_axi_arburst,
    input  logic                  m_axi_rvalid,
    output logic                  m_axi_rready,
    input  logic                  m_axi_rid,
    input  logic [AXI_DATA_W-1:0] m_axi_rdata,
    input  logic [           1:0] m_axi_rresp,
    input  logic                  m_axi_rlast
);

  `UNZIP_LIMIT_AXI_DATA_W
  `UNZIP_LIMIT_AXI_ADDR_W

  localparam int ByteW = $clog2(AXI_DATA_W / 8);
  localparam int AddrW = AXI_ADDR_W + 1;

  logic ar_valid_q, ar_id_q;
  logic [AXI_ADDR_W-1:0] ar_addr_q;
  logic [7:0] ar_len_q;
  logic [7:0] owed_q;  // bursts
  logic free, any_take;
  logic [1:0] checked, in_window, take;
  logic [2*AXI_ADDR_W-1:0] checked_addr;
  logic [15:0] checked_len;

  // Each requester has its own check: its last byte in one cycle, the window in the next one. What stands
  // checked waits for the channel.
  for (genvar r = 0; r < 2; r++) begin : g_check
    logic first_q, second_q, any_q, in_window_q, move;
    logic [AddrW-1:0] addr, addr_q, last_q;
    logic [BEATS_W-1:0] beats;
    logic [AXI_ADDR_W-1:0] second_addr_q;
    logic [7:0] len_q, second_len_q;
    logic [31:0] offset_q, second_offset_q;
    assign addr = request_addr_i[r*AddrW+:AddrW];
    assign beats = request_beats_i[r*BEATS_W+:BEATS_W];
    assign move = !second_q || take[r];
    assign request_ready_o[r] = !first_q && !halt_i;

    always_ff @(posedge clk_i) begin
      first_q  <= rst_ni && !halt_i && (first_q ? !move : request_valid_i[r]);
      second_q <= rst_ni && !halt_i && (first_q || (second_q && !take[r]));
      if (request_valid_i[r] && request_ready_o[r]) begin
        addr_q <= addr;
        // No burst crosses a 4 KB border: the upper bits stay.
        last_q <= {addr[AddrW-1:12], addr[11:0] + (12'(beats) << ByteW) - 12'd1};
        len_q <= 8'(beats - 1'b1);
        any_q <= beats != '0;
        offset_q <= request_offset_i[r*32+:32];
      end
      if (move) begin
        in_window_q <= any_q && !addr_q[AddrW-1] && !last_q[AddrW-1] &&
            addr_q[AXI_ADDR_W-1:0] >= window_first_i && last_q[AXI_ADDR_W-1:0] <= window_last_i;
        second_addr_q <= addr_q[AXI_ADDR_W-1:0];
        second_len_q <= len_q;
        second_offset_q <= offset_q;
      end
    end
    assign checked[r] = second_q;
    assign in_window[r] = in_window_q;
    assign checked_addr[r*AXI_ADDR_W+:AXI_ADDR_W] = second_addr_q;
    assign checked_len[r*8+:8] = second_len_q;
    assign window_offset_o[r*32+:32] = second_offset_q;
    assign window_error_o[r] = second_q && !in_window_q && !halt_i;
  end

  assign free = !ar_valid_q && owed_q != 8'hff && !halt_i;
  assign take = {
    free && checked[1] && in_window[1] && !checked[0], free && checked[0] && in_window[0]
  };
  assign any_take = take != 2'b00;
  assign idle_o = !ar_valid_q && owed_q == '0;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      ar_valid_q <= 1'b0;
      owed_q <= '0;
    end else begin
      if (any_take) begin
        ar_valid_q <= 1'b1;
      end else if (m_axi_arready) begin
        ar_valid_q <= 1'b0;
      end
      owed_q <= owed_q + 8'(any_take) - 8'(m_axi_rvalid && m_axi_rlast);
    end
    if (any_take) begin
      ar_id_q   <= take[1];
      ar_addr_q <= take[1] ? checked_addr[AXI_ADDR_W+:AXI_ADDR_W] : checked_addr[0+:AXI_ADDR_W];
      ar_len_q  <= take[1] ? checked_len[15:8] : checked_len[7:0];
    end
  end

  assign m_axi_arvalid = ar_valid_q;
  assign m_axi_arid = ar_id_q;
  assign m_axi_araddr = ar_addr_q;
  assign m_axi_arlen = ar_len_q;
  assign m_axi_arsize = 3'(ByteW);
  assign m_axi_arburst = 2'b01;
  assign m_axi_rready = 1'b1;

  assign beat_valid_o = {m_axi_rvalid && m_axi_rid, m_axi_rvalid && !m_axi_rid};
  assign beat_data_o = m_axi_rdata;
  assign beat_last_o = m_axi_rlast;
  assign beat_error_o = m_axi_rresp >= 2'd2 ? beat_valid_o : 2'b00;

  `UNZIP_ASSERT_STREAM(ArStable, m_axi_arvalid, m_axi_arready, ({
                       m_axi_arid, m_axi_araddr, m_axi_arlen}), AXI_ADDR_W + 9, clk_i, rst_ni)
  `UNZIP_ASSERT(
      No4KBorder,
      !m_axi_arvalid || 13'(m_axi_araddr[11:0]) + ((13'(m_axi_arlen) + 13'd1) << ByteW) <= 13'd4096,
      clk_i, rst_ni)
  `UNZIP_ASSERT(BeatIsOwed, !m_axi_rvalid || owed_q != '0, clk_i, rst_ni)

endmodule
