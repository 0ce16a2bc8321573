// SPDX-License-Identifier: Apache-2.0
//
// Holds its output when not enabled: a latch that every lint must refuse.
module latch (
    input  logic enable_i,
    input  logic data_i,
    output logic data_o
);

  always_comb begin
    if (enable_i) data_o = data_i;
  end

endmodule
