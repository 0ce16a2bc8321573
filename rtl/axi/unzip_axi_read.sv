// SPDX-License-Identifier: Apache-2.0
// AXI4 read channel shared by instruction fetch (ID 0) and load DMA (ID 1).
//
// Interface: two burst request streams, fetch first. A requester asks only when it has space
// for the whole burst, so the R channel never waits. A request must not cross a 4 KB border (the
// requesters align their bursts). A burst that is not wholly inside the read window, or that comes after
// halt_i, is not issued: window_error_o or nothing answers it, and the requester waits for a reset.
// A request stays as it is until it is taken: it is looked at in two cycles and answered in the third.
// Throughput: one burst request in three cycles, one beat a cycle.
`include "unzip_assert.svh"
`include "unzip_limits.svh"

module unzip_axi_read #(
    parameter int AXI_DATA_W = 64,
    parameter int AXI_ADDR_W = 40,
    localparam int BEATS_W = 9  // bits of a burst length in beats
) (
    input  logic clk_i,
    input  logic rst_ni,  // only the reset pin: it must see every owed beat
    input  logic halt_i,  // issue nothing new
    output logic idle_o,  // no read is owed

    input logic [AXI_ADDR_W-1:0] window_first_i,
    input logic [AXI_ADDR_W-1:0] window_last_i,

    // bit 0: fetch, bit 1: load. One more address bit than AXI has, to see a wrap.
    input  logic [                 1:0] request_valid_i,
    output logic [                 1:0] request_ready_o,
    input  logic [2*(AXI_ADDR_W+1)-1:0] request_addr_i,
    input  logic [       2*BEATS_W-1:0] request_beats_i,  // 1 to 256
    output logic [                 1:0] window_error_o,

    output logic [           1:0] beat_valid_o,
    output logic [AXI_DATA_W-1:0] beat_data_o,
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
  logic choose, take, in_window;
  logic [  AddrW-1:0] addr;
  logic [BEATS_W-1:0] beats;

  // The request that is looked at, its last byte, and whether it has any beat.
  logic check_q, check, check_id_q, check_any_q, checked_q, in_window_q, outside;
  logic [AddrW-1:0] check_addr_q, check_last_q;
  logic [7:0] check_len_q;

  assign choose = !request_valid_i[0];
  assign addr = choose ? request_addr_i[AddrW+:AddrW] : request_addr_i[0+:AddrW];
  assign beats = choose ? request_beats_i[BEATS_W+:BEATS_W] : request_beats_i[0+:BEATS_W];
  assign check = check_q && request_valid_i[check_id_q] && !halt_i;
  assign in_window = check_any_q && !check_addr_q[AddrW-1] && !check_last_q[AddrW-1] &&
      check_addr_q[AXI_ADDR_W-1:0] >= window_first_i &&
      check_last_q[AXI_ADDR_W-1:0] <= window_last_i;
  assign take = check && checked_q && in_window_q && !ar_valid_q && owed_q != 8'hff;
  assign request_ready_o = {take && check_id_q, take && !check_id_q};
  assign outside = check && checked_q && !in_window_q;
  assign window_error_o = {outside && check_id_q, outside && !check_id_q};

  // A load that waits gives way to a fetch, unless it is an error.
  logic give_way;
  assign give_way = check && check_id_q && request_valid_i[0] && !outside && !take;

  always_ff @(posedge clk_i) begin
    check_q <= rst_ni && !halt_i && (check ? !take : request_valid_i != 2'b00);
    checked_q <= check && !take && !give_way;
    in_window_q <= in_window;
    if (!check || give_way) begin
      check_id_q   <= choose;
      check_addr_q <= addr;
      // No burst crosses a 4 KB border: the upper bits stay.
      check_last_q <= {addr[AddrW-1:12], addr[11:0] + (12'(beats) << ByteW) - 12'd1};
      check_len_q  <= 8'(beats - 1'b1);
      check_any_q  <= beats != '0;
    end
  end
  assign idle_o = !ar_valid_q && owed_q == '0;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      ar_valid_q <= 1'b0;
      owed_q <= '0;
    end else begin
      if (take) begin
        ar_valid_q <= 1'b1;
      end else if (m_axi_arready) begin
        ar_valid_q <= 1'b0;
      end
      owed_q <= owed_q + 8'(take) - 8'(m_axi_rvalid && m_axi_rlast);
    end
    if (take) begin
      ar_id_q   <= check_id_q;
      ar_addr_q <= check_addr_q[AXI_ADDR_W-1:0];
      ar_len_q  <= check_len_q;
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
  assign beat_error_o = m_axi_rresp >= 2'd2 ? beat_valid_o : 2'b00;

  `UNZIP_ASSERT_STREAM(ArStable, m_axi_arvalid, m_axi_arready, ({
                       m_axi_arid, m_axi_araddr, m_axi_arlen}), AXI_ADDR_W + 9, clk_i, rst_ni)
  `UNZIP_ASSERT(
      No4KBorder,
      !m_axi_arvalid || 13'(m_axi_araddr[11:0]) + ((13'(m_axi_arlen) + 13'd1) << ByteW) <= 13'd4096,
      clk_i, rst_ni)
  `UNZIP_ASSERT(RequestStable, !check || request_addr_i[check_id_q*AddrW+:AddrW] == check_addr_q,
                clk_i, rst_ni)
  `UNZIP_ASSERT(BeatIsOwed, !m_axi_rvalid || owed_q != '0, clk_i, rst_ni)

endmodule
